#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gpt_oss/config_facts.h"
#include "mxferry/config.h"
#include "mxferry/inspect.h"
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
  bool has_head = true;                   // of its own, or tied
  bool adds_head = false;                 // a tied head becomes a tensor of its own
  GptOssConfig sizes = {};                // of the tensors; 0: unknown
};

struct EditedConfig {
  std::string text;
  std::vector<Problem> problems;  // notes and warnings: what was put right, what the target loses
};

// The config.json for the target. Between layouts of Hugging Face's style, sets or removes
// quantization_config, sets dtype or torch_dtype, puts right what contradicts the weights, and
// keeps everything else and the order. From or to `original`, translates the keys
// (original_config.h). Errors as parse_config().
EditedConfig edit_config(const std::string& text, const std::filesystem::path& file,
                         const ConfigEdit& edit);

}  // namespace mxferry::internal
