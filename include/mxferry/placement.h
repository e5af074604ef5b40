#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "mxferry/device_mesh.h"
#include "mxferry/tensor.h"

namespace mxferry {

// What one mesh dimension does to a tensor, under the names of torch.distributed.tensor.
struct Replicate {  // all its ranks have the same
  bool operator==(const Replicate&) const = default;
};
struct Shard {           // its ranks have a chunk each
  std::int64_t dim = 0;  // of the tensor, from 0 on
  bool operator==(const Shard&) const = default;
};
using Placement = std::variant<Replicate, Shard>;

// A box of a tensor, by dimension, in elements.
struct TensorPart {
  Shape begin;
  Shape extent;
  bool operator==(const TensorPart&) const = default;
};

// What a rank holds of a tensor of this shape; `placements` has one for each mesh dimension. It is
// as PyTorch cuts it (2.13, compute_local_shape_and_global_offset): from left to right, each mesh
// dimension what those before it have left, in chunks of ceil(size / ranks). The last ones may be
// smaller, or empty: those begin at the end of the tensor. Throws Error: what DeviceMesh::check()
// and element_count() throw, and invalid_argument for another number of placements or a Shard of a
// dimension that the tensor has not.
TensorPart local_part(const Shape& shape, const DeviceMesh& mesh,
                      const std::vector<Placement>& placements);

}  // namespace mxferry
