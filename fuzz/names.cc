// Texts that users and strangers give: patterns, sizes, names.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/name_regex.h"
#include "base/text.h"
#include "checkpoint/folder.h"
#include "cli/size.h"
#include "fuzz/input.h"
#include "mxferry/error.h"
#include "report/html.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal::fuzz {
namespace {

namespace fs = std::filesystem;

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

// What a size means, worked out in another way than cli/size.cc does.
std::optional<std::uint64_t> expected_size(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0) return std::nullopt;
  Wide value = 0;
  constexpr Wide kMost = std::numeric_limits<std::uint64_t>::max();
  for (const char c : text.substr(0, digits)) {
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > kMost) return std::nullopt;
  }
  std::string_view unit = text.substr(digits);
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  std::string name = lower(unit);
  if (!name.empty()) {
    if (name.back() != 'b') return std::nullopt;
    name.pop_back();
  }
  const bool is_binary = name.ends_with('i');
  if (is_binary) name.pop_back();
  const std::size_t power = std::string_view("kmgt").find(name) + 1;
  if (name.size() > 1 || (name.size() == 1 && power == 0)) return std::nullopt;
  if (name.empty() && is_binary) return std::nullopt;
  for (std::size_t i = 0; !name.empty() && i < power; ++i) {
    value *= is_binary ? 1024 : 1000;
    if (value > kMost) return std::nullopt;
  }
  if (value == 0) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

// One cache with one model, for all inputs.
class Cache {
 public:
  Cache() {
    fs::create_directories(entry() / "snapshots/c0ffee");
    fs::create_directories(entry() / "refs");
    std::ofstream(folder_ / "secret") << "secret";
    ::setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  }
  fs::path entry() const { return folder_ / "models--org--name"; }
  void set_main(std::string_view content) const {
    std::ofstream(entry() / "refs/main", std::ios::binary) << content;
  }

 private:
  testing::TempFolder folder_;
};

}  // namespace

// A pattern and, after the first line feed, a name.
void regex(Input input) {
  const std::string all = text_of(input);
  const std::size_t end = std::min(all.find('\n'), all.size());
  const std::string name = end < all.size() ? all.substr(end + 1) : "model.layers.0.mlp.bias";
  try {
    const NameRegex pattern(std::string_view(all).substr(0, end));
    const bool matches = pattern.matches_start(name);
    require(pattern.matches_start(name) == matches, "a match can be repeated");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_argument, "the pattern is to blame");
  }
}

void size(Input input) {
  const std::string all = text_of(input);
  require(cli::parse_size(all) == expected_size(all), "sizes mean what they say");
}

void text(Input input) {
  const std::string all = text_of(input);
  const std::string shown = printable(all);
  require(is_utf8(shown), "what is printable is UTF-8");
  require(printable(shown) == shown, "what is printable stays as it is");
  require(std::ranges::none_of(shown, [](unsigned char c) { return c < 0x20 || c == 0x7F; }),
          "no control character is printable");
  require(shown.find("\xC2\x9B") == std::string::npos, "no control sequence is printable");
  const std::string page = html_text(all);
  require(std::ranges::all_of(page, [](unsigned char c) { return c >= 0x20 && c < 0x7F; }),
          "HTML text is ASCII");
  require(page.find_first_of("<>\"'") == std::string::npos, "HTML text is text");
}

// What a user gives as SRC and, after the first line feed, what the cache holds as refs/main.
void hub_name(Input input) {
  static const Cache cache;
  const std::string all = text_of(input);
  const std::size_t end = std::min(all.find('\n'), all.size());
  const std::string source = all.substr(0, end);
  cache.set_main(end < all.size() ? std::string_view(all).substr(end + 1) : "c0ffee");
  std::error_code ignored;
  if (fs::exists(source, ignored)) return;  // is taken as it is
  try {
    const fs::path found = fs::canonical(resolve_source(source));
    require(found.parent_path() == cache.entry() / "snapshots", "a name means a snapshot");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::not_a_checkpoint || error.code() == ErrorCode::io_error ||
                error.code() == ErrorCode::invalid_argument,
            "a name or the cache is to blame");
  }
}

}  // namespace mxferry::internal::fuzz
