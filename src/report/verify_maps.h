#pragma once

#include <string>

#include "mxferry/verify.h"

namespace mxferry::internal {

// The sections of verify's page that show, as HTML, where in the model weights differ: by layer and
// expert, and by layer and kind for all other parameters.
std::string expert_maps(const VerifyReport& report);
std::string other_maps(const VerifyReport& report);

}  // namespace mxferry::internal
