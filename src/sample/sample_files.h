#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mxferry/config.h"

namespace mxferry::internal {

// OpenAI's config.json with these sizes; all other values are as published.
std::string sample_original_config(const GptOssConfig& config);

// The files of a published checkpoint other than weights and config.json, as {name, content}:
// generation config, a byte-level tokenizer without merges and its two small files, a chat
// template, a README. transformers can load them.
std::vector<std::pair<std::string, std::string>> sample_side_files(const GptOssConfig& config);

}  // namespace mxferry::internal
