#include "destination/name_text.h"

#include <utility>

#include "checkpoint/file_name.h"
#include "checkpoint/folder.h"

namespace mxferry::internal {
namespace {

std::string from_json_text(std::string_view text) {
  std::string name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_pair = (byte & 0xFC) == 0xC0 && i + 1 < text.size();
    name += is_pair ? static_cast<char>(byte << 6 | (text[++i] & 0x3F)) : text[i];
  }
  return name;
}

}  // namespace

std::string_view without_templates_folder(std::string_view name) {
  return name.starts_with(kTemplatesFolder) ? name.substr(kTemplatesFolder.size()) : name;
}

std::string to_json_text(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xC0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return text;
}

nlohmann::json to_json_texts(const std::vector<std::string>& names) {
  nlohmann::json texts = nlohmann::json::array();
  for (const std::string& name : names) texts.push_back(to_json_text(name));
  return texts;
}

std::vector<std::string> names_from_json(const nlohmann::json& texts) {
  std::vector<std::string> names;
  if (!texts.is_array()) return names;
  for (const nlohmann::json& text : texts) {
    if (!text.is_string()) continue;
    std::string name = from_json_text(text.get_ref<const std::string&>());
    const std::string_view base = without_templates_folder(name);
    const bool is_plain = stays_below(name) && base.find('/') == std::string_view::npos;
    if (is_plain && name != kStateFolder) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace mxferry::internal
