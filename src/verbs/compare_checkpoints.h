#pragma once

#include "flow/compare.h"
#include "gpt_oss/probe.h"
#include "mxferry/verify.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// verify() for two open checkpoints, both with a known layout. Throws what verify() throws, except
// for fatal problems, which the caller must check.
VerifyReport compare_checkpoints(const SourceCheckpoint& a, const SourceCheckpoint& b,
                                 const VerifyOptions& options);

// Of two parameters of the same shape.
Comparison comparison_of(const SourceParameter& a, const SourceParameter& b);

}  // namespace mxferry::internal
