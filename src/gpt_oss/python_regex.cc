#include "gpt_oss/python_regex.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "gpt_oss/regex_class.h"
#include "gpt_oss/regex_flags.h"
#include "gpt_oss/regex_quantifier.h"
#include "gpt_oss/regex_source.h"

namespace mxferry {
namespace {

constexpr int kDeepest = 200;
struct Group {
  bool closed = false;
  RegexWidth width;
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : source_(pattern) {}

  TranslatedRegex translate() {
    parse_alternatives(flags_, 0);
    if (source_.peek() == ')') source_.fail("unbalanced parenthesis");
    for (const auto& [group, position] : conditions_) {
      if (group > groups_.size()) source_.fail("there is no such group", position);
    }
    return {std::move(out_), flags_.has('i'), flags_.has('m'), flags_.has('s')};
  }

 private:
  // The last thing that was parsed in a branch: what a quantifier would repeat.
  enum class Last { nothing, anchor, repetition, item };
  struct Branch {
    RegexFlags flags;
    int depth = 0;
    bool global_flags_allowed = false;
    Last last = Last::nothing;
    RegexWidth last_width;
    RegexWidth width;  // of all before the last
  };

  RegexWidth parse_alternatives(RegexFlags flags, int depth);
  RegexWidth parse_branch(RegexFlags flags, int depth, bool first);
  bool skip_verbose(char32_t c);
  void parse_one(char32_t c, Branch& branch);
  void parse_escape(Branch& branch);
  void parse_number_escape(Branch& branch);
  void parse_quantifier(char32_t first, Branch& branch);
  void parse_group(Branch& branch);
  void parse_extension(Branch& branch, std::size_t start);
  void parse_python_extension(Branch& branch, std::size_t start);
  void parse_capture(Branch& branch, const std::string& name, std::size_t start);
  void parse_inside(Branch& branch, std::string_view open, RegexFlags flags, std::size_t start);
  void parse_lookaround(Branch& branch, std::string_view open, bool behind, std::size_t start);
  void parse_condition(Branch& branch, std::size_t start);
  void parse_flags(Branch& branch, std::size_t start);
  void set_global_flags(const std::string& letters, Branch& branch, std::size_t start);
  void skip_comment(std::size_t start);

  static void add(Branch& branch, Last kind, RegexWidth width);
  void add_text(Branch& branch, std::string_view text, Last kind, RegexWidth width);
  void add_reference(Branch& branch, std::size_t group);
  void check_reference(std::size_t group) const;
  void expect_end(std::size_t start);
  std::string get_name(char delimiter);
  std::size_t group_number(const std::string& name) const;
  void check_flags(const RegexFlags& flags) const;

  RegexSource source_;
  std::string out_;
  RegexFlags flags_;  // of the whole expression
  bool unicode_flag_ = false;
  std::vector<Group> groups_;  // number 1 first
  std::map<std::string, std::size_t> names_;
  std::map<std::size_t, std::size_t> conditions_;  // group -> where it was asked for
  std::optional<std::size_t> groups_before_lookbehind_;
};

void Translator::add(Branch& branch, Last kind, RegexWidth width) {
  branch.width += branch.last_width;
  branch.last = kind;
  branch.last_width = width;
}

void Translator::add_text(Branch& branch, std::string_view text, Last kind, RegexWidth width) {
  out_ += text;
  add(branch, kind, width);
}

RegexWidth Translator::parse_alternatives(RegexFlags flags, int depth) {
  RegexWidth width = parse_branch(flags, depth, depth == 0);
  while (source_.accept('|')) {
    out_ += '|';
    // RegexFlags at the start of the whole expression hold in all its branches.
    width.widen(parse_branch(depth == 0 ? flags_ : flags, depth, false));
  }
  return width;
}

RegexWidth Translator::parse_branch(RegexFlags flags, int depth, bool first) {
  if (depth > kDeepest) source_.fail("more than 200 levels of parentheses");
  Branch branch;
  branch.flags = flags;
  branch.depth = depth;
  branch.global_flags_allowed = first;
  while (source_.peek() != RegexSource::kEnd && source_.peek() != '|' && source_.peek() != ')') {
    const char32_t c = source_.get();
    if (branch.flags.has('x') && skip_verbose(c)) continue;
    parse_one(c, branch);
  }
  add(branch, Last::nothing, {});
  return branch.width;
}

bool Translator::skip_verbose(char32_t c) {
  if (c < 0x80 &&
      std::string_view(" \t\n\r\v\f").find(static_cast<char>(c)) != std::string_view::npos) {
    return true;
  }
  if (c != '#') return false;
  while (source_.peek() != RegexSource::kEnd && source_.get_token() != '\n') {
  }
  return true;
}

void Translator::parse_one(char32_t c, Branch& branch) {
  switch (c) {
    case '\\':
      return parse_escape(branch);
    case '[':
      return add_text(branch, translate_class(source_, branch.flags.has('a')), Last::item, {1, 1});
    case '(':
      return parse_group(branch);
    case '*':
    case '+':
    case '?':
    case '{':
      return parse_quantifier(c, branch);
    case '.':
      return add_text(branch, ".", Last::item, {1, 1});
    case '^':
    case '$':
      return add_text(branch, c == '^' ? "^" : "$", Last::anchor, {});
    default:
      return add_text(branch, escaped(c), Last::item, {1, 1});
  }
}

void Translator::parse_escape(Branch& branch) {
  const bool ascii = branch.flags.has('a');
  const char32_t c = source_.peek();
  if (is_category(c)) {
    source_.get();
    return add_text(branch, category_class(static_cast<char>(c), ascii), Last::item, {1, 1});
  }
  if (source_.accept('A')) return add_text(branch, "\\A", Last::anchor, {});
  if (source_.accept('Z')) return add_text(branch, "\\z", Last::anchor, {});
  if (c == 'b' || c == 'B') {
    source_.get();
    return add_text(branch, word_boundary(c == 'b', ascii), Last::anchor, {});
  }
  if (const std::optional<char32_t> character = source_.get_character_escape()) {
    return add_text(branch, escaped(*character), Last::item, {1, 1});
  }
  parse_number_escape(branch);
}

// Python: \0 begins an octal number, and so do three octal digits; all else is a reference of one
// or two digits.
void Translator::parse_number_escape(Branch& branch) {
  const std::size_t start = source_.position();
  std::string digits = source_.get_digits(3, 8);
  if (digits.empty() || (digits[0] != '0' && digits.size() < 3)) {
    source_.seek(start);
    digits = source_.get_digits(2, 10);
    std::size_t group = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), group);
    if (group > groups_.size()) source_.fail("there is no group " + digits, start);
    return add_reference(branch, group);
  }
  add_text(branch, escaped(source_.octal_value(digits)), Last::item, {1, 1});
}

void Translator::check_reference(std::size_t group) const {
  const bool closed = group <= groups_.size() && groups_[group - 1].closed;
  if (!closed) source_.fail("a reference to a group that is not closed yet");
  if (groups_before_lookbehind_ && group > *groups_before_lookbehind_) {
    source_.fail("a reference to a group of the same lookbehind");
  }
}

void Translator::add_reference(Branch& branch, std::size_t group) {
  check_reference(group);
  add_text(branch, "\\g{" + std::to_string(group) + "}", Last::item, groups_[group - 1].width);
}

void Translator::parse_quantifier(char32_t first, Branch& branch) {
  const std::size_t start = source_.position() - 1;
  const std::optional<Quantifier> quantifier = get_quantifier(source_, first);
  if (!quantifier) return add_text(branch, escaped(first), Last::item, {1, 1});
  if (branch.last == Last::nothing || branch.last == Last::anchor) {
    source_.fail("nothing to repeat", start);
  }
  if (branch.last == Last::repetition) source_.fail("multiple repeat", start);
  out_ += quantifier->text;
  branch.last = Last::repetition;
  branch.last_width.repeat(quantifier->least, quantifier->most);
}

void Translator::expect_end(std::size_t start) {
  if (!source_.accept(')')) source_.fail("missing ), the group does not end", start);
  out_ += ')';
}

void Translator::parse_group(Branch& branch) {
  const std::size_t start = source_.position() - 1;
  if (source_.accept('?')) return parse_extension(branch, start);
  parse_capture(branch, "", start);
}

void Translator::parse_capture(Branch& branch, const std::string& name, std::size_t start) {
  groups_.emplace_back();
  const std::size_t number = groups_.size();
  if (!name.empty() && !names_.emplace(name, number).second) {
    source_.fail("the group name '" + name + "' is taken", start);
  }
  parse_inside(branch, "(", branch.flags, start);
  groups_[number - 1] = {true, branch.last_width};
}

void Translator::parse_inside(Branch& branch, std::string_view open, RegexFlags flags,
                              std::size_t start) {
  out_ += open;
  const RegexWidth width = parse_alternatives(flags, branch.depth + 1);
  expect_end(start);
  add(branch, Last::item, width);
}

void Translator::parse_extension(Branch& branch, std::size_t start) {
  const char32_t c = source_.get();
  switch (c) {
    case 'P':
      return parse_python_extension(branch, start);
    case ':':
      return parse_inside(branch, "(?:", branch.flags, start);
    case '>':
      return parse_inside(branch, "(?>", branch.flags, start);
    case '#':
      return skip_comment(start);
    case '=':
      return parse_lookaround(branch, "(?=", false, start);
    case '!':
      return parse_lookaround(branch, "(?!", false, start);
    case '<':
      if (source_.accept('=')) return parse_lookaround(branch, "(?<=", true, start);
      if (source_.accept('!')) return parse_lookaround(branch, "(?<!", true, start);
      source_.fail("unknown extension ?< (Python names a group with ?P<name>)", start);
    case '(':
      return parse_condition(branch, start);
    default:
      source_.seek(source_.position() - 1);
      return parse_flags(branch, start);
  }
}

void Translator::skip_comment(std::size_t start) {
  do {
    if (source_.peek() == RegexSource::kEnd)
      source_.fail("missing ), the comment does not end", start);
  } while (source_.get_token() != ')');
}

std::string Translator::get_name(char delimiter) {
  const std::size_t start = source_.position();
  std::string name = source_.get_until(delimiter);
  if (!is_identifier(name)) {
    source_.fail("a group's name is made of ASCII letters, digits and _", start);
  }
  return name;
}

std::size_t Translator::group_number(const std::string& name) const {
  const auto found = names_.find(name);
  if (found == names_.end()) source_.fail("there is no group named '" + name + "'");
  return found->second;
}

void Translator::parse_python_extension(Branch& branch, std::size_t start) {
  if (source_.accept('<')) return parse_capture(branch, get_name('>'), start);
  if (source_.accept('=')) return add_reference(branch, group_number(get_name(')')));
  source_.fail("unknown extension ?P", start);
}

void Translator::parse_lookaround(Branch& branch, std::string_view open, bool behind,
                                  std::size_t start) {
  const std::optional<std::size_t> outer = groups_before_lookbehind_;
  if (behind && !outer) groups_before_lookbehind_ = groups_.size();
  // The outer parentheses let a quantifier follow.
  out_ += "(?:";
  out_ += open;
  const RegexWidth width = parse_alternatives(branch.flags, branch.depth + 1);
  groups_before_lookbehind_ = outer;
  expect_end(start);
  out_ += ')';
  if (behind && width.least != width.most) {
    source_.fail("a lookbehind needs a fixed width", start);
  }
  add(branch, Last::item, {});
}

// (?(group)yes|no)
void Translator::parse_condition(Branch& branch, std::size_t start) {
  const std::size_t here = source_.position();
  const std::string text = source_.get_until(')');
  std::size_t group = 0;
  if (is_identifier(text)) {
    group = group_number(text);
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), group);
    if (error != std::errc() || end != text.data() + text.size() || group == 0 || group > 65535) {
      source_.fail("a condition is the name or the number of a group", here);
    }
    conditions_.emplace(group, here);
  }
  if (groups_before_lookbehind_) check_reference(group);
  out_ += "(?(" + std::to_string(group) + ")";
  RegexWidth width = parse_branch(branch.flags, branch.depth + 1, false);
  if (source_.accept('|')) {
    out_ += '|';
    width.widen(parse_branch(branch.flags, branch.depth + 1, false));
    if (source_.peek() == '|') source_.fail("a condition has at most two branches");
  } else {
    width.widen({});
  }
  expect_end(start);
  add(branch, Last::item, width);
}

void Translator::check_flags(const RegexFlags& flags) const {
  if (flags.has('a') && flags.has('i')) {
    source_.fail("the flags a and i together are not supported: write both cases");
  }
}

void Translator::set_global_flags(const std::string& letters, Branch& branch, std::size_t start) {
  if (!branch.global_flags_allowed || branch.last != Last::nothing) {
    source_.fail("flags for the whole expression stand at its start", start);
  }
  for (const char letter : letters) {
    if (letter == 'u') {
      unicode_flag_ = true;
    } else {
      flags_.add(letter);
    }
  }
  if (unicode_flag_ && flags_.has('a')) source_.fail("the flags a and u exclude each other", start);
  check_flags(flags_);
  branch.flags = flags_;
}

void Translator::parse_flags(Branch& branch, std::size_t start) {
  const FlagChange change = get_flag_change(source_);
  if (!change.for_group) return set_global_flags(change.add, branch, start);
  RegexFlags flags = branch.flags;
  std::string open = "(?";
  for (const char letter : change.add) {
    if (letter == 'u') {
      flags.remove('a');
    } else {
      flags.add(letter);
    }
    if (letter == 'i' || letter == 'm' || letter == 's') open += letter;
  }
  open += '-';
  for (const char letter : change.remove) {
    flags.remove(letter);
    if (letter != 'x') open += letter;
  }
  check_flags(flags);
  parse_inside(branch, open + ":", flags, start);
}

}  // namespace

TranslatedRegex translate_python_regex(std::string_view pattern) {
  return Translator(pattern).translate();
}

}  // namespace mxferry
