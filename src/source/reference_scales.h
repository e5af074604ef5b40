#pragma once

#include <cstddef>

#include "gpt_oss/probe.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// Where the reference keeps the scales of a parameter that is to be quantized: an index into its
// catalog. Throws Error: missing_tensor, wrong_shape.
std::size_t find_reference_scales(const SourceCheckpoint& reference, const SourceParameter& wanted);

}  // namespace mxferry::internal
