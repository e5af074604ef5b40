#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mxferry/inspect.h"

namespace mxferry::internal {

// Collects problems. A hostile checkpoint may have one for each of 65,536 tensors, so only the
// first hundred of a severity and code are listed.
class ProblemList {
 public:
  void fatal(ErrorCode code, std::string tensor, std::string text) {
    add(Severity::fatal, code, std::move(tensor), std::move(text));
  }
  void warn(ErrorCode code, std::string tensor, std::string text) {
    add(Severity::warning, code, std::move(tensor), std::move(text));
  }
  void note(ErrorCode code, std::string tensor, std::string text) {
    add(Severity::note, code, std::move(tensor), std::move(text));
  }
  void add(Severity severity, ErrorCode code, std::string tensor, std::string text);

  // All that were listed, and how many were not.
  std::vector<Problem> take();

 private:
  std::vector<Problem> problems_;
  std::map<std::pair<Severity, ErrorCode>, std::size_t> counts_;
};

}  // namespace mxferry::internal
