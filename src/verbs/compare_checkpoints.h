#pragma once

#include "mxferry/verify.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// verify() for two open checkpoints, both with a known layout. Throws what verify() throws, except
// for fatal problems, which the caller must check.
VerifyReport compare_checkpoints(const SourceCheckpoint& a, const SourceCheckpoint& b,
                                 const VerifyOptions& options);

}  // namespace mxferry::internal
