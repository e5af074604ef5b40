#pragma once

#include <string>
#include <string_view>

namespace mxferry {

// A Python regular expression as PCRE2 has to be given it to match the same.
struct TranslatedRegex {
  std::string pattern;
  bool ignore_case = false;
  bool multiline = false;
  bool dot_all = false;
};

// Accepts what Python 3.11's re.compile(str) accepts, in Python's meaning, and nothing that only
// PCRE2 has (\K, \h, \R, \Q, (?R), (*VERB), (?<name>...) and the like are errors, as in Python).
// Throws Error(invalid_argument) with the reason and the position in code points. Also refused,
// with a reason, although Python takes them: \N{NAME}, surrogates, names of groups that are not
// ASCII, the flags a and i together, more than 65535 repetitions, and more than 200 levels of
// parentheses. \B matches the empty name, as since Python 3.14.
TranslatedRegex translate_python_regex(std::string_view pattern);

}  // namespace mxferry
