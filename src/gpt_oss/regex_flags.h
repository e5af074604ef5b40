#pragma once

#include <string>
#include <string_view>

#include "gpt_oss/regex_source.h"

namespace mxferry {

// Which of Python's flags i, m, s, x and a hold. The absence of `a` is Python's u.
class RegexFlags {
 public:
  bool has(char letter) const { return (bits_ & bit(letter)) != 0; }
  void add(char letter) { bits_ |= bit(letter); }
  void remove(char letter) { bits_ &= ~bit(letter); }

 private:
  static unsigned bit(char letter) { return 1u << std::string_view("imsxa").find(letter); }

  unsigned bits_ = 0;
};

// What (?add-remove:...) or (?add) says, in letters.
struct FlagChange {
  std::string add;
  std::string remove;
  bool for_group = false;  // ":" followed, not ")"
};

// Parses it from after the question mark to the ":" or ")", which is taken too.
FlagChange get_flag_change(RegexSource& source);

}  // namespace mxferry
