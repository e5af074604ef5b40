#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "mxferry/device_mesh.h"
#include "mxferry/tensor.h"

namespace mxferry {

// What one mesh dimension does to a tensor, named as in torch.distributed.tensor.
struct Replicate {  // all ranks hold the same
  bool operator==(const Replicate&) const = default;
};
struct Shard {           // each rank holds a chunk
  std::int64_t dim = 0;  // of the tensor, from 0
  bool operator==(const Shard&) const = default;
};
using Placement = std::variant<Replicate, Shard>;

// A box of a tensor, by dimension, in elements.
struct TensorPart {
  Shape begin;
  Shape extent;
  bool operator==(const TensorPart&) const = default;
};

// What a rank holds of a tensor of this shape; `placements` has one entry per mesh dimension. The
// cuts are PyTorch's (2.13, compute_local_shape_and_global_offset): from left to right, each mesh
// dimension cuts what those before it have left into chunks of ceil(size / ranks). The last chunks
// may be smaller, or empty, in which case they begin at the end of the tensor. Throws Error: what
// DeviceMesh::check() and element_count() throw, and invalid_argument for a different number of
// placements or a Shard of a dimension that the tensor does not have.
TensorPart local_part(const Shape& shape, const DeviceMesh& mesh,
                      const std::vector<Placement>& placements);

}  // namespace mxferry
