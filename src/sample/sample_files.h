#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mxferry/config.h"

namespace mxferry::internal {

// OpenAI's config.json for these sizes, everything else as published.
std::string sample_original_config(const GptOssConfig& config);

// What a published checkpoint has beside weights and config.json, as {name, content}: generation
// config, a byte-level tokenizer without merges, its two small files, a chat template, a README.
// They load in transformers.
std::vector<std::pair<std::string, std::string>> sample_side_files(const GptOssConfig& config);

}  // namespace mxferry::internal
