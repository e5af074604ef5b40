#include "report/html.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <tuple>

#include "base/text.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

// The code point, and its length, of the UTF-8 sequence at the start of the text, which must be
// valid and longer than one byte.
std::pair<char32_t, std::size_t> decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const auto length = static_cast<std::size_t>(std::countl_one(byte(0)));
  char32_t point = byte(0) & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) point = point << 6 | (byte(i) & 0x3FU);
  return {point, length};
}

// Whether to escape a character: invisible ones would make different names look the same, and HTML
// has no reference to a noncharacter.
bool is_unseen(char32_t point) {
  const auto within = [&](char32_t first, char32_t last) {
    return first <= point && point <= last;
  };
  return point == 0xAD || within(0x200B, 0x200F) || within(0x2060, 0x206F) || point == 0xFEFF ||
         within(0xFDD0, 0xFDEF) || (point & 0xFFFE) == 0xFFFE || within(0xE0000, 0xE0FFF);
}

void append_ascii(std::string& out, char c) {
  switch (c) {
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '&':
      out += "&amp;";
      break;
    case '"':
      out += "&quot;";
      break;
    case '\'':
      out += "&#39;";
      break;
    default:
      out += c;
  }
}

}  // namespace

std::string html_text(std::string_view text) {
  const std::string shown = printable(text);
  std::string out;
  for (std::string_view rest = shown; !rest.empty();) {
    std::size_t length = 1;
    if (static_cast<std::uint8_t>(rest[0]) < 0x80) {
      append_ascii(out, rest[0]);
    } else {
      char32_t point = 0;
      std::tie(point, length) = decode(rest);
      if (is_unseen(point)) {
        for (const char c : rest.substr(0, length))
          append(out, "\\x{:02x}", static_cast<std::uint8_t>(c));
      } else {
        append(out, "&#{};", static_cast<std::uint32_t>(point));
      }
    }
    rest.remove_prefix(length);
  }
  return out;
}

std::string html_name(std::string_view name) {
  std::string out = "<code>";
  for (const char c : html_text(name)) {
    out += c;
    if (c == '.' || c == '_' || c == '/') out += "<wbr>";
  }
  return out + "</code>";
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (part == 0 || whole == 0) return "0 %";
  if (part == whole) return "100 %";
  const double share = 100 * static_cast<double>(part) / static_cast<double>(whole);
  // Rounding must not reach either end: readers look for whether even one weight differs.
  if (share >= 99.995) return "almost 100 %";
  if (share >= 0.01) return fmt::format("{:.2f} %", share);
  if (share >= 0.0001) return fmt::format("{:.4f} %", share);
  return "under 0.0001 %";
}

std::string count_of(std::uint64_t part, std::uint64_t whole) {
  return grouped(part) + " of " + grouped(whole);
}

std::string plural(std::uint64_t number, std::string_view thing) {
  return fmt::format("{} {}{}", grouped(number), thing, number == 1 ? "" : "s");
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  // 999.5 and above would be printed as 1000.
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return fmt::format("{:.{}f} {}", value, value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string human_seconds(double seconds) {
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(std::min(seconds, 1e15));
  return fmt::format("{} min {} s", grouped(whole / 60), whole % 60);
}

std::string sqnr_text(const Difference& difference) {
  if (difference.different == 0) return "exact";
  if (difference.noise == 0) return "only NaN or infinite weights differ";
  const double sqnr = difference.sqnr_db();
  if (!std::isfinite(sqnr)) return sqnr < 0 ? "A is all zeros" : "too far apart for a number";
  return fmt::format("{:.1f} dB", sqnr);
}

}  // namespace mxferry::internal
