#include "base/name_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <new>

#include "base/python_regex.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

// Names have at most a few hundred characters, so a search this long means a runaway pattern.
constexpr std::uint32_t kMatchLimit = 1'000'000;
constexpr std::uint32_t kHeapLimitKiB = 64 << 10;

using CompileContext =
    std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)>;
using MatchContext = std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)>;
using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

template <typename Pointer>
Pointer allocated(Pointer pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

std::string reason(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

pcre2_code* compile(std::string_view pattern) {
  const std::string translated = translate_python_regex(pattern);
  const CompileContext context(allocated(pcre2_compile_context_create(nullptr)),
                               pcre2_compile_context_free);
  // Python has one line ending. Its ^ also matches after the last one.
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
#if PCRE2_MAJOR > 10 || PCRE2_MINOR >= 43
  // Python refuses a lookbehind of variable length.
  pcre2_set_max_varlookbehind(context.get(), 0);
#endif
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const code =
      pcre2_compile(units(translated), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_ALT_CIRCUMFLEX, &error, &offset, context.get());
  if (code == nullptr) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the regular expression is refused: " + reason(error),
                 .found = "'" + std::string(pattern) + "'"});
  }
  return code;
}

}  // namespace

struct NameRegex::Code {
  explicit Code(std::string_view pattern) : regex(compile(pattern)) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(regex); }

  pcre2_code* regex;
};

void NameRegex::CodeDeleter::operator()(Code* code) const noexcept {
  delete code;
}

NameRegex::NameRegex(std::string_view pattern) : pattern_(pattern), code_(new Code(pattern)) {}

bool NameRegex::matches_start(std::string_view name) const {
  const MatchContext context(allocated(pcre2_match_context_create(nullptr)),
                             pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKiB);
  const MatchData data(allocated(pcre2_match_data_create_from_pattern(code_->regex, nullptr)),
                       pcre2_match_data_free);
  const int result = pcre2_match(code_->regex, units(name.data() == nullptr ? "" : name),
                                 name.size(), 0, PCRE2_ANCHORED, data.get(), context.get());
  if (result >= 0) return true;
  if (result == PCRE2_ERROR_NOMATCH) return false;
  throw Error(ErrorCode::invalid_argument,
              {.problem = "the regular expression '" + pattern_ +
                          "' cannot be tried on the tensor: " + reason(result),
               .tensor = std::string(name)});
}

}  // namespace mxferry::internal
