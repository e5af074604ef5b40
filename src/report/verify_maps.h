#pragma once

#include <string>

#include "mxferry/verify.h"

namespace mxferry::internal {

// The SQNR for an order from bad to good: infinite where no weight differs, -infinite where nothing
// but NaN and infinite weights does.
double ranked_sqnr(const Difference& difference) noexcept;

// The sections of verify's page that show where in the model weights differ, as HTML: by layer and
// expert, and by layer and kind for all other parameters.
std::string expert_maps(const VerifyReport& report);
std::string other_maps(const VerifyReport& report);

}  // namespace mxferry::internal
