#include "gpt_oss/regex_class.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

namespace mxferry {
namespace {

// Between brackets, by Python's definitions: str.isdecimal, str.isspace, str.isalnum or "_".
std::string_view members(char lower, bool ascii) {
  if (lower == 'd') return ascii ? "0-9" : "\\p{Nd}";
  if (lower == 'w') return ascii ? "0-9A-Za-z_" : "\\p{L}\\p{N}_";
  if (ascii) return "\\x{9}-\\x{d}\\x{20}";
  return "\\x{9}-\\x{d}\\x{1c}-\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
         "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
}

bool is_negated(char letter) noexcept {
  return letter < 'a';
}
char lower(char letter) noexcept {
  return static_cast<char>(letter | 0x20);
}

// What stands at one place of a class: a character, or the letter of a category.
struct Member {
  char32_t character = 0;
  char category = 0;
};

Member get_escaped_member(RegexSource& source) {
  if (is_category(source.peek())) return {.category = static_cast<char>(source.get())};
  if (source.accept('b')) return {.character = '\b'};
  if (const std::optional<char32_t> c = source.get_character_escape()) return {.character = *c};
  const std::string digits = source.get_digits(3, 8);
  if (digits.empty()) source.fail("a class has no references to groups");
  return {.character = source.octal_value(digits)};
}

Member get_member(RegexSource& source) {
  const char32_t c = source.get();
  return c == '\\' ? get_escaped_member(source) : Member{.character = c};
}

// The members of one class. Negated categories cannot share brackets with others in PCRE2 (\W
// would be its own): each is an alternative.
struct Union {
  std::string members;
  std::string alternatives;

  void add(const Member& member, bool ascii) {
    if (member.category == 0) {
      members += escaped(member.character);
    } else if (is_negated(member.category)) {
      alternatives += category_class(member.category, ascii) + "|";
    } else {
      members += mxferry::members(member.category, ascii);
    }
  }

  std::string text(bool negated) const {
    if (alternatives.empty()) return (negated ? "[^" : "[") + members + "]";
    const std::string any = members.empty() ? alternatives.substr(0, alternatives.size() - 1)
                                            : alternatives + "[" + members + "]";
    return negated ? "(?:(?!" + any + ")(?s:.))" : "(?:" + any + ")";
  }
};

}  // namespace

bool is_category(char32_t letter) noexcept {
  return letter < 0x80 &&
         std::string_view("dDsSwW").find(static_cast<char>(letter)) != std::string_view::npos;
}

std::string category_class(char letter, bool ascii) {
  const std::string_view inside = members(lower(letter), ascii);
  return (is_negated(letter) ? "[^" : "[") + std::string(inside) + "]";
}

std::string word_boundary(bool positive, bool ascii) {
  const std::string word = category_class('w', ascii);
  const std::string inside = "(?<=" + word + ")";
  const std::string outside = "(?<!" + word + ")";
  const std::string word_next = "(?=" + word + ")";
  const std::string other_next = "(?!" + word + ")";
  return positive ? "(?:" + inside + other_next + "|" + outside + word_next + ")"
                  : "(?:" + inside + word_next + "|" + outside + other_next + ")";
}

std::string escaped(char32_t c) {
  std::array<char, 8> digits{};
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(),
                                          static_cast<std::uint32_t>(c), 16);
  return "\\x{" + std::string(digits.data(), end) + "}";
}

std::string translate_class(RegexSource& source, bool ascii) {
  const std::size_t start = source.position() - 1;
  const bool negated = source.accept('^');
  Union all;
  for (bool first = true; first || !source.accept(']'); first = false) {
    if (source.peek() == RegexSource::kEnd) source.fail("the class has no ]", start);
    const std::size_t here = source.position();
    const Member from = get_member(source);
    if (!source.accept('-')) {
      all.add(from, ascii);
      continue;
    }
    if (source.peek() == RegexSource::kEnd) source.fail("the class has no ]", start);
    if (source.peek() == ']') {
      all.add(from, ascii);
      all.add({.character = '-'}, ascii);
      continue;
    }
    const Member to = get_member(source);
    if (from.category != 0 || to.category != 0 || to.character < from.character) {
      source.fail("bad range of characters", here);
    }
    all.members += escaped(from.character) + "-" + escaped(to.character);
  }
  return all.text(negated);
}

}  // namespace mxferry
