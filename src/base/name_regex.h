#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace mxferry::internal {

// A regular expression on tensor names, written as for Python's re. Compiled once; matching is
// thread-safe. Move-only.
class NameRegex {
 public:
  // Throws Error(invalid_argument) with the reason and the position: see python_regex.h for what is
  // accepted.
  explicit NameRegex(std::string_view pattern);

  // Whether re.match(pattern, name) finds something: anchored at the start of the name, not at its
  // end. The name may hold any characters, NUL included. Throws Error(invalid_argument) for a name
  // that is not UTF-8, and where the search exceeds a fixed number of steps, or 64 MiB.
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
