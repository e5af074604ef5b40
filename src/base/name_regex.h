#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace mxferry::internal {

// A regular expression for tensor names, in the syntax of Python's re. Compiled once; matching is
// thread-safe. Move-only.
class NameRegex {
 public:
  // Throws Error(invalid_argument) with the reason and, if known, the position; python_regex.h says
  // what is accepted.
  explicit NameRegex(std::string_view pattern);

  // Whether re.match(pattern, name) matches: anchored at the start of the name, not at its end. The
  // name may hold any characters, NUL included. Throws Error(invalid_argument) for a name that is
  // not UTF-8, or if the search exceeds a fixed number of steps or 64 MiB.
  bool matches_start(std::string_view name) const;

 private:
  struct Code;
  struct CodeDeleter {
    void operator()(Code* code) const noexcept;
  };

  std::string pattern_;
  std::unique_ptr<Code, CodeDeleter> code_;
};

}  // namespace mxferry::internal
