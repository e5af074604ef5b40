#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "gpt_oss/regex_source.h"

namespace mxferry {

// How many characters an expression can match, for Python's rule that a lookbehind has one width.
struct RegexWidth {
  // Python's limit of a repetition, which it takes for an unbounded width too.
  static constexpr std::uint64_t kUnbounded = 0xFFFFFFFF;

  std::uint64_t least = 0;
  std::uint64_t most = 0;

  void operator+=(const RegexWidth& next) {
    least = std::min(least + next.least, kUnbounded);
    most = std::min(most + next.most, kUnbounded);
  }
  void widen(const RegexWidth& other) {
    least = std::min(least, other.least);
    most = std::max(most, other.most);
  }
  void repeat(std::uint64_t at_least, std::uint64_t at_most) {
    least = std::min(least * at_least, kUnbounded);
    most = std::min(most * at_most, kUnbounded);
  }
};

struct Quantifier {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  std::string text;  // as PCRE2 writes it
};

// Parses a quantifier whose first character, one of * + ? {, was taken. nullopt, with no more
// taken, for a "{" that begins none and so is a character.
std::optional<Quantifier> get_quantifier(RegexSource& source, char32_t first);

}  // namespace mxferry
