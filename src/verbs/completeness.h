#pragma once

#include "mxferry/convert.h"
#include "verbs/prepared_conversion.h"
#include "verbs/weight_passes.h"

namespace mxferry::internal {

// Proves that a destination that holds something finished holds what the conversion makes: every
// byte of this part's weights by converting them again, every other file whole. Throws Error:
// destination_exists with what differs, destination_in_use where the folder changes meanwhile, what
// a conversion throws.
void prove_complete(const ConvertOptions& options, const PreparedConversion& preparation,
                    WeightPasses& passes);

}  // namespace mxferry::internal
