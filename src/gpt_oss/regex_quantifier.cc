#include "gpt_oss/regex_quantifier.h"

#include <charconv>
#include <system_error>

namespace mxferry {
namespace {

constexpr std::uint64_t kUnbounded = RegexWidth::kUnbounded;

std::uint64_t repetitions(const std::string& digits, const RegexSource& source) {
  constexpr std::uint64_t kMost = 65535;  // PCRE2's limit; Python's is 2^32 - 2
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || value > kMost) source.fail("more than 65535 repetitions");
  return value;
}

// {m}, {m,}, {,n} or {m,n}, after the "{".
std::optional<Quantifier> get_bounds(RegexSource& source) {
  constexpr std::size_t kAllDigits = std::string::npos;
  const std::size_t start = source.position();
  const bool empty = source.peek() == '}';
  const std::string low = source.get_digits(kAllDigits, 10);
  const std::string high = source.accept(',') ? source.get_digits(kAllDigits, 10) : low;
  const bool exact = source.position() == start + low.size();
  if (empty || !source.accept('}')) {
    source.seek(start);
    return std::nullopt;
  }
  Quantifier result;
  result.least = low.empty() ? 0 : repetitions(low, source);
  result.most = high.empty() ? kUnbounded : repetitions(high, source);
  if (result.least > result.most) {
    source.fail("the least number of repetitions is above the most", start);
  }
  result.text = "{" + std::to_string(result.least);
  if (!exact) result.text += "," + (high.empty() ? "" : std::to_string(result.most));
  result.text += "}";
  return result;
}

}  // namespace

std::optional<Quantifier> get_quantifier(RegexSource& source, char32_t first) {
  std::optional<Quantifier> result;
  if (first == '{') {
    result = get_bounds(source);
    if (!result) return std::nullopt;
  } else {
    result = Quantifier{.least = first == '+' ? 1u : 0u,
                        .most = first == '?' ? 1u : kUnbounded,
                        .text = std::string(1, static_cast<char>(first))};
  }
  if (source.accept('?')) {
    result->text += '?';
  } else if (source.accept('+')) {
    result->text += '+';
  }
  return result;
}

}  // namespace mxferry
