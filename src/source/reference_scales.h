#pragma once

#include <cstddef>

#include "gpt_oss/probe.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// The index, in the reference's catalog, of the scales of a parameter to be quantized, which may
// have fewer experts if the caller finds out which. Throws Error: missing_tensor, wrong_shape.
std::size_t find_reference_scales(const SourceCheckpoint& reference, const SourceParameter& wanted,
                                  bool may_have_more_experts = false);

}  // namespace mxferry::internal
