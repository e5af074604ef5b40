#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "mxferry/config.h"
#include "mxferry/layout.h"

namespace mxferry::internal {

// The sizes in a config.json, under Hugging Face's keys or OpenAI's (gpt_oss/torch/model.py,
// ModelConfig); 0 for a key that is absent or null. `file` is for messages. Throws
// Error(invalid_config) if the text is not a JSON object, exceeds the limits on nesting, keys or
// values, or has a size that is not a positive integer below 2^31.
GptOssConfig parse_config(const std::string& text, const std::filesystem::path& file);

// What the target's config.json must say about its weights.
struct ConfigEdit {
  Layout to = Layout::hf;
  bool packed = false;                    // the target's experts are MXFP4
  std::optional<DType> torch_dtype = {};  // to set; nullopt: unchanged
};

// The config.json for the target. Between hf and nemo, sets or removes quantization_config, sets
// torch_dtype (or dtype, if the text uses that key), and keeps everything else and the order. From
// or to `original`, translates the keys; those that only one style has get the published models'
// values or are left out. Errors as parse_config().
std::string edit_config(const std::string& text, const std::filesystem::path& file,
                        const ConfigEdit& edit);

}  // namespace mxferry::internal
