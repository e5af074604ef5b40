#pragma once

#include <cstdint>
#include <string>

namespace mxferry::internal::testing {

struct CheckResult {
  std::uint64_t weights = 0;  // compared
  std::string difference;     // the first one, in words; empty where there is none
};

// Compares every weight of a converted checkpoint with the source's, one at a time: decoded by the
// scalar reference and rounded to the target's dtype, or quantized by the scalar reference in the
// default mode, bit for bit (NaN by class). Finds tensors by
// the layout tables, but shares no plan, no kernel and no tile with the conversion. Every tensor of
// the source must be there, and nothing else.
CheckResult check_conversion(const std::string& source, const std::string& target);

}  // namespace mxferry::internal::testing
