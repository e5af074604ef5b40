#include "gpt_oss/regex_flags.h"

namespace mxferry {
namespace {

bool is_in(std::string_view letters, char32_t c) {
  return c < 0x80 && letters.find(static_cast<char>(c)) != std::string_view::npos;
}

void check(const FlagChange& change, const RegexSource& source) {
  if (change.add.find('a') != std::string::npos && change.add.find('u') != std::string::npos) {
    source.fail("the flags a and u exclude each other");
  }
  if (change.add.find_first_of(change.remove) != std::string::npos) {
    source.fail("a flag is turned on and off");
  }
  if (!change.for_group && !change.remove.empty()) {
    source.fail("flags are turned off only for a group");
  }
}

}  // namespace

FlagChange get_flag_change(RegexSource& source) {
  FlagChange change;
  const std::size_t start = source.position();
  while (is_in("imsxau", source.peek())) change.add += static_cast<char>(source.get());
  const bool turns_off = source.accept('-');
  while (turns_off && is_in("imsx", source.peek()))
    change.remove += static_cast<char>(source.get());
  change.for_group = source.peek() == ':';
  const bool missing = turns_off ? change.remove.empty() : change.add.empty();
  if (missing || (!change.for_group && source.peek() != ')')) {
    source.fail("unknown extension or flag after (?", start);
  }
  source.get();
  check(change, source);
  return change;
}

}  // namespace mxferry
