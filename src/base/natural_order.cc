#include "base/natural_order.h"

#include <algorithm>

namespace mxferry::internal {
namespace {

// Removes and returns the number or single character at the start of the text.
std::string_view take_token(std::string_view& text) noexcept {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t length = 1;
  if (is_digit(text[0])) {
    while (length < text.size() && is_digit(text[length])) ++length;
  }
  const std::string_view token = text.substr(0, length);
  text.remove_prefix(length);
  return token;
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) noexcept {
  const std::string_view whole_a = a;
  const std::string_view whole_b = b;
  while (!a.empty() && !b.empty()) {
    const std::string_view x = take_token(a);
    const std::string_view y = take_token(b);
    if (x == y) continue;
    const auto is_number = [](std::string_view token) {
      return token[0] >= '0' && token[0] <= '9';
    };
    if (!is_number(x) || !is_number(y)) return x < y;
    const std::string_view m = x.substr(std::min(x.find_first_not_of('0'), x.size()));
    const std::string_view n = y.substr(std::min(y.find_first_not_of('0'), y.size()));
    if (m.size() != n.size()) return m.size() < n.size();
    if (m != n) return m < n;
  }
  if (a.empty() != b.empty()) return a.empty();
  return whole_a < whole_b;
}

}  // namespace mxferry::internal
