#pragma once

#include <cstdint>
#include <vector>

#include "mxferry/checkpoint_reader.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

// Throws Error(invalid_argument) unless the box lies in the tensor and has a stride for each
// dimension.
void check_box(const ReadableTensor& tensor, const Shape& begin, const Shape& extent,
               const std::vector<std::int64_t>& strides);

// Returns the strides, replacing those of dimensions with at most one element, which are
// meaningless. Throws Error(invalid_argument) unless the memory is row-major and its last dimension
// has no gaps.
std::vector<std::int64_t> checked_strides(const ReadableTensor& tensor, const Shape& extent,
                                          std::vector<std::int64_t> strides);

}  // namespace mxferry::internal
