#pragma once

#include "mxferry/verify.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// verify() of two checkpoints that are open; both must have a layout. Throws what verify() throws,
// but for fatal problems, which are the caller's business.
VerifyReport compare_checkpoints(const SourceCheckpoint& a, const SourceCheckpoint& b,
                                 const VerifyOptions& options);

}  // namespace mxferry::internal
