#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "gpt_oss/probe.h"

// What a probe found, in a form that tests compare.
namespace mxferry::internal::testing {

// Severity, code and tensor of every problem.
struct Finding {
  Severity severity = Severity::fatal;
  ErrorCode code = ErrorCode::not_a_checkpoint;
  std::string tensor;
  bool operator==(const Finding&) const = default;
};
inline void PrintTo(const Finding& finding, std::ostream* out) {
  *out << (finding.severity == Severity::fatal ? "fatal " : "warning ") << name(finding.code)
       << " '" << finding.tensor << "'";
}
inline std::vector<Finding> findings(const Description& description) {
  std::vector<Finding> found;
  for (const Problem& problem : description.problems) {
    EXPECT_FALSE(problem.text.empty());
    found.push_back({problem.severity, problem.code, problem.tensor});
  }
  return found;
}
inline Finding fatal(ErrorCode code, std::string tensor) {
  return {Severity::fatal, code, std::move(tensor)};
}
inline Finding warning(ErrorCode code, std::string tensor) {
  return {Severity::warning, code, std::move(tensor)};
}
using Findings = std::vector<Finding>;

inline constexpr const char* kGateUp = "model.layers.0.mlp.experts.gate_up_proj";
inline constexpr const char* kDown = "model.layers.0.mlp.experts.down_proj";

inline const SourceParameter& parameter(const Description& description, ParameterKind kind,
                                        std::int64_t layer = 0) {
  const auto found = std::ranges::find_if(description.parameters, [&](const SourceParameter& p) {
    return p.parameter.kind == kind && p.parameter.layer == layer;
  });
  EXPECT_NE(found, description.parameters.end());
  return *found;
}

}  // namespace mxferry::internal::testing
