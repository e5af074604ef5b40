#include "base/natural_order.h"

#include <algorithm>
#include <cstddef>

namespace mxferry::internal {
namespace {

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

// Removes and returns the number or single character at the start of the text.
std::string_view take_token(std::string_view& text) noexcept {
  std::size_t length = 1;
  if (is_digit(text[0])) {
    while (length < text.size() && is_digit(text[length])) ++length;
  }
  const std::string_view token = text.substr(0, length);
  text.remove_prefix(length);
  return token;
}

// Removes the tokens that both begin with.
void remove_common(std::string_view& a, std::string_view& b) noexcept {
  constexpr std::size_t kStep = 8;
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t common = 0;
  while (common + kStep <= most && a.substr(common, kStep) == b.substr(common, kStep)) {
    common += kStep;
  }
  while (common < most && a[common] == b[common]) ++common;
  while (common > 0 && is_digit(a[common - 1])) --common;  // it may be part of a longer number
  a.remove_prefix(common);
  b.remove_prefix(common);
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) noexcept {
  const std::string_view whole_a = a;
  const std::string_view whole_b = b;
  remove_common(a, b);  // the names of a checkpoint have long prefixes in common
  while (!a.empty() && !b.empty()) {
    const std::string_view x = take_token(a);
    const std::string_view y = take_token(b);
    if (x == y) continue;
    if (!is_digit(x[0]) || !is_digit(y[0])) return x < y;
    const std::string_view m = x.substr(std::min(x.find_first_not_of('0'), x.size()));
    const std::string_view n = y.substr(std::min(y.find_first_not_of('0'), y.size()));
    if (m.size() != n.size()) return m.size() < n.size();
    if (m != n) return m < n;
  }
  if (a.empty() != b.empty()) return a.empty();
  return whole_a < whole_b;
}

}  // namespace mxferry::internal
