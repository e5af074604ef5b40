#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mxferry/tensor.h"

namespace mxferry::internal {

// The strides of row-major memory without gaps, by dimension, in elements.
inline std::vector<std::int64_t> row_major_strides(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

}  // namespace mxferry::internal
