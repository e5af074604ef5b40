#include "checkpoint/manifest.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/hash.h"
#include "checkpoint/file_name.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

std::string escaped(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (c == '\\') {
      text += "\\\\";
    } else if (c == '\n') {
      text += "\\n";
    } else if (c == '\r') {
      text += "\\r";
    } else {
      text += c;
    }
  }
  return text;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string name;
  bool is_escaped = false;
  for (const char c : text) {
    if (is_escaped) {
      if (c != '\\' && c != 'n' && c != 'r') return std::nullopt;
      name += c == 'n' ? '\n' : c == 'r' ? '\r' : '\\';
      is_escaped = false;
    } else if (c == '\\') {
      is_escaped = true;
    } else {
      name += c;
    }
  }
  if (is_escaped) return std::nullopt;
  return name;
}

// The name and digest of a line; nullopt if it is malformed.
std::optional<std::pair<std::string, std::string>> parse_line(std::string_view line) {
  const bool is_escaped = line.starts_with('\\');
  if (is_escaped) line.remove_prefix(1);
  constexpr std::size_t kMark = 2;
  if (line.size() <= kSha256Digits + kMark) return std::nullopt;
  std::string digest(line.substr(0, kSha256Digits));
  for (char& digit : digest) {
    if (digit >= 'A' && digit <= 'F') digit = static_cast<char>(digit - 'A' + 'a');
  }
  const std::string_view mark = line.substr(kSha256Digits, kMark);
  if (!is_hexadecimal(digest, kSha256Digits) || (mark != "  " && mark != " *")) {
    return std::nullopt;
  }
  std::string_view text = line.substr(kSha256Digits + kMark);
  // `find . -type f` writes names like this.
  while (text.starts_with("./")) text.remove_prefix(2);
  std::optional<std::string> name = is_escaped ? unescaped(text) : std::string(text);
  if (!name || !stays_below(*name)) return std::nullopt;
  return std::pair(std::move(*name), std::move(digest));
}

}  // namespace

std::string serialize_manifest(const Manifest& manifest) {
  std::string text;
  for (const auto& [name, digest] : manifest) {
    const std::string shown = escaped(name);
    if (shown != name) text += '\\';
    text += digest;
    text += "  ";
    text += shown;
    text += '\n';
  }
  return text;
}

Manifest parse_manifest(std::string_view text, const std::filesystem::path& file) {
  const auto refuse = [&](std::size_t number, const char* expected, std::string found) {
    throw Error(ErrorCode::invalid_manifest,
                {.problem = "line " + std::to_string(number) + " of the manifest is not one",
                 .file = file,
                 .expected = expected,
                 .found = std::move(found)});
  };
  Manifest manifest;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    // From a Windows line end; a CR in a name is escaped.
    if (line.ends_with('\r')) line.remove_suffix(1);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    auto entry = parse_line(line);
    if (!entry) {
      constexpr std::size_t kShown = 100;
      refuse(number, "64 digits of SHA-256, two blanks and the name of a file in the folder",
             "'" + std::string(line.substr(0, kShown)) + "'");
    }
    const auto [known, is_new] = manifest.insert(*entry);
    if (!is_new && known->second != entry->second) {
      refuse(number, "one digest a file", "two of '" + entry->first + "'");
    }
  }
  return manifest;
}

}  // namespace mxferry::internal
