#include "gpt_oss/regex_source.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "mxferry/error.h"

namespace mxferry {
namespace {

// Of well-formed UTF-8.
std::u32string decode_utf8(std::string_view text) {
  std::u32string code_points;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    char32_t c = length == 1 ? lead : lead & (0x7Fu >> length);
    for (std::size_t k = 1; k < length; ++k) {
      c = (c << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    }
    code_points += c;
    i += length;
  }
  return code_points;
}

int digit_value(char32_t c) {
  if (is_ascii_digit(c)) return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return 99;
}

}  // namespace

bool is_identifier(std::string_view text) noexcept {
  const auto fits = [](char c) {
    return is_ascii_letter(static_cast<char32_t>(c)) || is_ascii_digit(static_cast<char32_t>(c)) ||
           c == '_';
  };
  return !text.empty() && !is_ascii_digit(static_cast<char32_t>(text[0])) &&
         std::ranges::all_of(text, fits);
}

RegexSource::RegexSource(std::string_view pattern) : text_(pattern) {
  if (!is_utf8(pattern)) fail("the pattern is not UTF-8", 0);
  code_points_ = decode_utf8(pattern);
}

char32_t RegexSource::peek() const noexcept {
  return position_ < code_points_.size() ? code_points_[position_] : kEnd;
}

char32_t RegexSource::get() {
  if (position_ == code_points_.size()) fail("unexpected end of the pattern");
  return code_points_[position_++];
}

bool RegexSource::accept(char32_t c) noexcept {
  if (peek() != c) return false;
  ++position_;
  return true;
}

char32_t RegexSource::get_token() {
  const char32_t c = get();
  if (c == '\\') get();
  return c;
}

std::string RegexSource::get_digits(std::size_t most, int base) {
  std::string digits;
  while (digits.size() < most && digit_value(peek()) < base) digits += static_cast<char>(get());
  return digits;
}

std::string RegexSource::get_until(char delimiter) {
  const std::size_t start = position_;
  std::string text;
  while (!accept(static_cast<char32_t>(delimiter))) {
    if (peek() == kEnd) fail(std::string("missing ") + delimiter, start);
    const char32_t c = get_token();
    text += c < 0x80 && c != '\\' ? static_cast<char>(c) : '?';
  }
  return text;
}

char32_t RegexSource::get_hexadecimal(std::size_t digits) {
  const std::size_t start = position_;
  const std::string text = get_digits(digits, 16);
  if (text.size() != digits) {
    fail("the escape needs " + std::to_string(digits) + " hexadecimal digits", start);
  }
  std::uint32_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (value > 0x10FFFF) fail("the escape is beyond U+10FFFF", start);
  if (value >= 0xD800 && value < 0xE000) {
    fail("a surrogate is no character: it cannot occur in a tensor name", start);
  }
  return value;
}

std::optional<char32_t> RegexSource::get_character_escape() {
  constexpr std::string_view kLetters = "afnrtv";
  constexpr std::string_view kCharacters = "\a\f\n\r\t\v";
  const char32_t c = get();
  if (is_ascii_digit(c)) {
    --position_;
    return std::nullopt;
  }
  if (c == 'x') return get_hexadecimal(2);
  if (c == 'u') return get_hexadecimal(4);
  if (c == 'U') return get_hexadecimal(8);
  if (c == 'N') fail("\\N{...} is not supported: write the character or its \\u escape");
  if (!is_ascii_letter(c)) return c;
  const std::size_t index = kLetters.find(static_cast<char>(c));
  if (index == std::string_view::npos) {
    fail(std::string("bad escape \\") + static_cast<char>(c), position_ - 2);
  }
  return static_cast<char32_t>(kCharacters[index]);
}

char32_t RegexSource::octal_value(const std::string& digits) const {
  std::uint32_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (value > 0377) fail("the octal escape \\" + digits + " is above \\377");
  return value;
}

void RegexSource::fail(const std::string& reason, std::size_t position) const {
  throw Error(ErrorCode::invalid_argument,
              {.problem = "the regular expression is refused: " + reason + ", at position " +
                          std::to_string(position),
               .expected = "the syntax of Python's re",
               .found = "'" + text_ + "'"});
}

}  // namespace mxferry
