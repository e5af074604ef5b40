#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mxferry {

// A Python regular expression on its way through a parser, code point by code point.
class RegexSource {
 public:
  static constexpr char32_t kEnd = 0xFFFFFFFF;  // what peek() returns at the end

  // Throws Error(invalid_argument) for text that is not UTF-8.
  explicit RegexSource(std::string_view pattern);

  // In code points, as Python counts.
  std::size_t position() const noexcept { return position_; }
  void seek(std::size_t position) noexcept { position_ = position; }

  char32_t peek() const noexcept;
  // The next code point; fails at the end.
  char32_t get();
  // Takes the next code point if it is c.
  bool accept(char32_t c) noexcept;
  // Takes one code point, or a backslash and the one that it escapes.
  char32_t get_token();

  // The digits of an octal or decimal number, at most `most` of them.
  std::string get_digits(std::size_t most, int base);
  // The text up to the delimiter, which is taken too. Only ASCII is kept apart: other code points
  // come back as '?', which is part of no name or number.
  std::string get_until(char delimiter);

  // What the escapes of single characters that mean the same everywhere stand for (\n, \x41,
  // \u0041, punctuation), after the backslash was taken. nullopt, with nothing taken, for a digit.
  // Fails for other letters.
  std::optional<char32_t> get_character_escape();
  // The value of octal digits; fails above 0o377, the last that Python takes.
  char32_t octal_value(const std::string& digits) const;

  [[noreturn]] void fail(const std::string& reason, std::size_t position) const;
  [[noreturn]] void fail(const std::string& reason) const { fail(reason, position_); }

 private:
  char32_t get_hexadecimal(std::size_t digits);

  std::string text_;
  std::u32string code_points_;
  std::size_t position_ = 0;
};

// ASCII letters and digits alone: what the syntax is made of.
constexpr bool is_ascii_letter(char32_t c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr bool is_ascii_digit(char32_t c) noexcept {
  return c >= '0' && c <= '9';
}

// Whether the text is made of ASCII letters, digits and _, and begins with no digit.
bool is_identifier(std::string_view text) noexcept;

}  // namespace mxferry
