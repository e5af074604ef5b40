#pragma once

#include <string>
#include <string_view>

namespace mxferry::internal {

// Rewrites a pattern of Python's re for PCRE2 where the two spell the same thing differently or
// mean different things by the same text (\Z, \v, \uXXXX, {,n}, a bracket in a class), and refuses
// what only PCRE2 has (\K, \h, \R, \Q, (?R),
// (*VERB), (?<name>...) and the like), as Python does. Everything else is left for PCRE2 to judge,
// which takes a little more than Python does (lookbehind over alternatives of different lengths,
// for one). Not supported: the flags a, L and u, and \N{NAME}. Source: Python 3.11's
// Lib/re/_parser.py and pcre2pattern(3). Throws Error(invalid_argument) with the reason and the
// position in bytes.
std::string translate_python_regex(std::string_view pattern);

}  // namespace mxferry::internal
