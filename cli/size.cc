#include "size.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>

namespace mxferry::cli {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                          {"b", 1},
                                          {"kb", 1'000},
                                          {"mb", 1'000'000},
                                          {"gb", 1'000'000'000},
                                          {"tb", 1'000'000'000'000},
                                          {"kib", std::uint64_t{1} << 10},
                                          {"mib", std::uint64_t{1} << 20},
                                          {"gib", std::uint64_t{1} << 30},
                                          {"tib", std::uint64_t{1} << 40}}};

bool is_name_of(std::string_view text, const Unit& unit) noexcept {
  return std::ranges::equal(text, unit.name, {}, [](unsigned char c) { return std::tolower(c); });
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  std::uint64_t count = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || count == 0) return std::nullopt;
  std::string_view name = text.substr(static_cast<std::size_t>(rest - text.data()));
  name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
  const auto unit =
      std::ranges::find_if(kUnits, [&](const Unit& known) { return is_name_of(name, known); });
  if (unit == kUnits.end()) return std::nullopt;
  if (count > std::numeric_limits<std::uint64_t>::max() / unit->bytes) return std::nullopt;
  return count * unit->bytes;
}

}  // namespace mxferry::cli
