#include "gpt_oss/problem_list.h"

namespace mxferry::internal {
namespace {

constexpr std::size_t kMostOfAKind = 100;

}  // namespace

void ProblemList::add(Severity severity, ErrorCode code, std::string tensor, std::string text) {
  if (++counts_[{severity, code}] > kMostOfAKind) return;
  problems_.push_back({severity, code, "", std::move(tensor), std::move(text)});
}

std::vector<Problem> ProblemList::take() {
  for (const auto& [kind, count] : counts_) {
    if (count <= kMostOfAKind) continue;
    const auto& [severity, code] = kind;
    problems_.push_back({severity, code, "", "",
                         "and " + std::to_string(count - kMostOfAKind) +
                             " more problems of this kind (" + name(code) + ")"});
  }
  return std::move(problems_);
}

}  // namespace mxferry::internal
