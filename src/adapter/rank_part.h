#pragma once

#include <string_view>
#include <vector>

#include "mxferry/device_mesh.h"
#include "mxferry/placement.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

// The part of a dense tensor that a rank holds. `name` is native or Hugging Face's. Tensors of the
// experts are cut by `expert_placements` (see GPTOSSStateDictAdapter); others are held whole.
// Throws Error(wrong_shape) if the tensor has too few dimensions.
TensorPart rank_part(std::string_view name, const Shape& shape, const DeviceMesh& mesh,
                     const std::vector<Placement>& expert_placements);

// Copies a part of a tensor, whose elements are whole bytes, to new memory.
Tensor copy_part(const Tensor& whole, const TensorPart& part);

// Decodes a part of weights [experts, in, out] to new memory; blocks and scales must fit one
// another. Along `in`, decodes the blocks that cover the part and trims them; blocks of other than
// 16 bytes are all decoded, then cut.
Tensor decode_part(const Tensor& blocks, const Tensor& scales, DType dtype, const TensorPart& part);

}  // namespace mxferry::internal
