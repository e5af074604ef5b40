#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "mxferry/config.h"
#include "mxferry/layout.h"

namespace mxferry::internal {

// The sizes that a config.json states, in Hugging Face's keys or OpenAI's (gpt_oss/torch/model.py,
// ModelConfig); 0 for a key that is not there. `file` is for messages. Throws Error(invalid_config)
// when the text is no JSON object, nests deeper or has more keys or values than a config does, or a
// size is not a positive integer below 2^31.
GptOssConfig parse_config(const std::string& text, const std::filesystem::path& file);

// What the target's config.json must say about its weights.
struct ConfigEdit {
  Layout to = Layout::hf;
  bool packed = false;                    // the target's experts are MXFP4
  std::optional<DType> torch_dtype = {};  // to set; nullopt leaves what is there
};

// The config.json for the target. Between hf and nemo: quantization_config set or removed,
// torch_dtype (or dtype, where that is the key) set, everything else and the order kept. From or to
// `original` the keys are translated; what only one of the two styles has is filled with the
// published models' values or left out. Errors as parse_config().
std::string edit_config(const std::string& text, const std::filesystem::path& file,
                        const ConfigEdit& edit);

}  // namespace mxferry::internal
