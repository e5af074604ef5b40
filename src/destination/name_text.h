#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mxferry::internal {

// Names of files are bytes, and JSON is UTF-8: byte 0xE9 is written as U+00E9.
std::string to_json_text(std::string_view name);
nlohmann::json to_json_texts(const std::vector<std::string>& names);

// The names of an array that to_json_texts() made, in its order. What is not text is passed over,
// and so is what is not the name of a file in the folder itself, or is mxferry's own: anybody may
// have written the array.
std::vector<std::string> names_from_json(const nlohmann::json& texts);

}  // namespace mxferry::internal
