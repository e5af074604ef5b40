#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mxferry::internal {

// File names are bytes, and JSON is UTF-8: byte 0xE9 is written as U+00E9.
std::string to_json_text(std::string_view name);
nlohmann::json to_json_texts(const std::vector<std::string>& names);

// A file's name, without kTemplatesFolder before it.
std::string_view without_templates_folder(std::string_view name);

// The names in an array made by to_json_texts(), in order. The array is untrusted: skips entries
// that are not strings, that are not plain names of files in the folder itself or in
// kTemplatesFolder, or that are mxferry's own.
std::vector<std::string> names_from_json(const nlohmann::json& texts);

}  // namespace mxferry::internal
