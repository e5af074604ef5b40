#include "base/python_regex.h"

#include <algorithm>
#include <cstddef>

#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

constexpr std::string_view kDigits = "0123456789";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string translate() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '{' && rest().starts_with("{,")) {
        open_repetition();
      } else {
        take(1);
      }
    }
    return std::move(out_);
  }

 private:
  std::string_view rest() const { return pattern_.substr(at_); }

  void take(std::size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += std::min(count, pattern_.size() - at_);
  }

  [[noreturn]] void refuse(const std::string& reason) const {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the regular expression is refused: " + reason + ", at position " +
                            std::to_string(at_),
                 .found = "'" + std::string(pattern_) + "'"});
  }

  // Translates a backslash escape if the two dialects differ.
  void escape(bool in_class) {
    if (at_ + 1 == pattern_.size()) refuse("a backslash at the end");
    const char c = pattern_[at_ + 1];
    if (c == 'u') return code_point(4);
    if (c == 'U') return code_point(8);
    if (c == 'x') {
      if (hex_digits(2) != 2) refuse("\\x needs two hexadecimal digits");
      return take(4);
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const std::string_view known = in_class ? "abfnrtvdDsSwW" : "AbBdDsSwWZafnrtv";
    if (letter && known.find(c) == std::string_view::npos) refuse(std::string("bad escape \\") + c);
    const std::string_view other = in_class ? in_class_spelling(c) : spelling(c);
    if (other.empty()) return take(2);
    out_ += other;
    at_ += 2;
    if ((c == 'b' || c == 'B') && repeats()) refuse("nothing to repeat");
  }

  // Whether a repetition operator comes next.
  bool repeats() const {
    if (rest().empty()) return false;
    if (rest()[0] != '{') return std::string_view("*+?").find(rest()[0]) != std::string_view::npos;
    const std::size_t end = rest().find_first_not_of("0123456789,", 1);
    return end != std::string_view::npos && end > 1 && rest()[end] == '}';
  }

  // PCRE2's spelling of an escape; empty if it is the same. In Python, word characters are letters,
  // numbers and underscores; PCRE2 10.43 and later add combining marks.
  static std::string_view spelling(char c) {
    switch (c) {
      case 'Z':
        return "\\z";
      case 'v':
        return "\\x0b";
      case 'w':
        return "[\\p{Xan}_]";
      case 'W':
        return "[^\\p{Xan}_]";
      case 'b':
        return "(?:(?<=[\\p{Xan}_])(?![\\p{Xan}_])|(?<![\\p{Xan}_])(?=[\\p{Xan}_]))";
      case 'B':
        return "(?:(?<=[\\p{Xan}_])(?=[\\p{Xan}_])|(?<![\\p{Xan}_])(?![\\p{Xan}_]))";
      default:
        return "";
    }
  }

  static std::string_view in_class_spelling(char c) {
    if (c == 'v') return "\\x0b";
    return c == 'w' ? "\\p{Xan}_" : "";
  }

  std::size_t hex_digits(std::size_t most) const {
    const std::string_view digits = pattern_.substr(std::min(at_ + 2, pattern_.size()), most);
    return std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  }

  // \uXXXX or \UXXXXXXXX.
  void code_point(std::size_t digits) {
    if (hex_digits(digits) != digits)
      refuse("an escape needs " + std::to_string(digits) + " hexadecimal digits");
    out_ += "\\x{" + std::string(pattern_.substr(at_ + 2, digits)) + "}";
    at_ += 2 + digits;
  }

  void character_class() {
    take(1);
    if (rest().starts_with('^')) take(1);
    // A closing bracket in first position is a literal.
    if (rest().starts_with(']')) take(1);
    while (at_ < pattern_.size() && pattern_[at_] != ']') {
      if (pattern_[at_] == '\\') {
        escape(true);
        continue;
      }
      // Python has no classes such as [:alpha:].
      if (pattern_[at_] == '[') out_ += '\\';
      take(1);
    }
    if (at_ == pattern_.size()) refuse("a character class without its end");
    take(1);
  }

  void group() {
    if (rest().starts_with("(*")) refuse("nothing to repeat");
    if (!rest().starts_with("(?")) return take(1);
    const std::string_view what = rest().substr(2);
    if (what.starts_with('#')) return comment();
    for (const std::string_view shared : {":", "=", "!", "<=", "<!", ">", "P<", "P=", "("}) {
      if (what.starts_with(shared)) return take(2 + shared.size());
    }
    const std::size_t flags = std::min(what.find_first_not_of("imsx-"), what.size());
    const bool ends = flags < what.size() && (what[flags] == ':' || what[flags] == ')');
    if (flags == 0 || !ends)
      refuse("an unknown or unsupported extension (?" + std::string(what.substr(0, 3)));
    take(2 + flags);
  }

  void comment() {
    std::size_t end = at_;
    while (end < pattern_.size() && pattern_[end] != ')') end += pattern_[end] == '\\' ? 2 : 1;
    if (end >= pattern_.size()) refuse("a comment without its end");
    at_ = end + 1;
  }

  // {,n} means {0,n} in Python; before 10.43, PCRE2 reads it as text.
  void open_repetition() {
    const std::string_view after = rest().substr(2);
    const std::size_t end = std::min(after.find_first_not_of(kDigits), after.size());
    const bool repetition = end < after.size() && after[end] == '}';
    out_ += repetition ? "{0" : "\\{";
    at_ += 1;
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_python_regex(std::string_view pattern) {
  return Translator(pattern).translate();
}

}  // namespace mxferry::internal
