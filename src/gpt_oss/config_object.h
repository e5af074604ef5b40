#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "mxferry/error.h"

namespace mxferry::internal {

// As Json::parse(), for a config.json, which is a stranger's: limits nesting, keys and values, and
// keeps the order of the keys. Throws Error(invalid_config) if the text is not a JSON object or
// exceeds a limit. `file` is for messages.
nlohmann::ordered_json parse_config_object(const std::string& text,
                                           const std::filesystem::path& file);

// The most values that parse_config_object() accepts.
inline constexpr int kMostConfigValues = 200'000;

}  // namespace mxferry::internal
