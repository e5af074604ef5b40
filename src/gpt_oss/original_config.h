#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mxferry::internal {

// OpenAI's config of a Hugging Face one, in the order of gpt_oss/torch/model.py, ModelConfig. A key
// that is absent gets transformers' default. Adds a warning for each setting of the model that
// OpenAI's code has no key for. Throws Error(invalid_config) if the position embedding is not one
// that OpenAI's code computes. `file` is for messages.
nlohmann::ordered_json original_from_hf(const nlohmann::ordered_json& hf,
                                        const std::filesystem::path& file,
                                        std::vector<std::string>& warnings);

// The published config.json of openai/gpt-oss-20b with the sizes of OpenAI's config. Throws
// Error(invalid_config) for more layers than parse_config_object() would accept values.
nlohmann::ordered_json hf_from_original(const nlohmann::ordered_json& original,
                                        const std::filesystem::path& file);

}  // namespace mxferry::internal
