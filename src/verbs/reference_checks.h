#pragma once

#include <vector>

#include "mxferry/inspect.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// Compares a sample of the source's dense expert weights with a reference: of the first and the
// last layer that both have, the first expert. Warns if they agree only with rows and columns
// swapped, or only with all of gate before all of up, which no shape and no name reveals: the
// result would be another model. Throws Error(io_error).
void check_against_reference(const SourceCheckpoint& source, const SourceCheckpoint& reference,
                             std::vector<Problem>& warnings);

}  // namespace mxferry::internal
