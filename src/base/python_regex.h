#pragma once

#include <string>
#include <string_view>

namespace mxferry::internal {

// Translates a pattern of Python's re for PCRE2. Rewrites text that the two spell or interpret
// differently (\Z, \v, \uXXXX, {,n}, a bracket in a class), and refuses, as Python does, what only
// PCRE2 has (\K, \h, \R, \Q, (?R), (*VERB), (?<name>...) and the like). PCRE2 judges everything
// else and accepts slightly more than Python (for example, lookbehind over alternatives of
// different lengths). Not supported: the flags a, L and u, and \N{NAME}. Source: Python 3.11's
// Lib/re/_parser.py and pcre2pattern(3). Throws Error(invalid_argument) with the reason and the
// position in bytes.
std::string translate_python_regex(std::string_view pattern);

}  // namespace mxferry::internal
