#pragma once

#include "mxferry/convert.h"
#include "verbs/prepared_conversion.h"
#include "verbs/weight_passes.h"

namespace mxferry::internal {

// Proves that a destination that holds something finished holds exactly what the conversion makes:
// every byte of this part's weights, by converting them again, and every other file in full. Throws
// Error: destination_exists (with what differs), destination_in_use (the folder changes meanwhile),
// what a conversion throws.
void prove_complete(const ConvertOptions& options, const PreparedConversion& preparation,
                    WeightPasses& passes);

}  // namespace mxferry::internal
