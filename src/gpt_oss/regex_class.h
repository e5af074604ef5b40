#pragma once

#include <string>

#include "gpt_oss/regex_source.h"

namespace mxferry {

// The letters of the escapes that stand for one character of a category: \d, \D, \s, \S, \w, \W.
bool is_category(char32_t letter) noexcept;

// A PCRE2 class that matches what Python means by \LETTER, under the ASCII flag or without. PCRE2's
// own \s and \w mean other characters than Python's, and \w changed between its versions.
std::string category_class(char letter, bool ascii);

// \b (or, not positive, \B) spelled out by Python's \w.
std::string word_boundary(bool positive, bool ascii);

// One character by its number, in or out of a class.
std::string escaped(char32_t c);

// Parses [...] after the opening bracket was taken, and returns it for PCRE2.
std::string translate_class(RegexSource& source, bool ascii);

}  // namespace mxferry
