#pragma once

#include <string_view>
#include <vector>

#include "mxferry/device_mesh.h"
#include "mxferry/placement.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

// What a rank holds of a tensor by its native name or that of Hugging Face's layout, dense: of the
// experts' as expert_placements(mesh) of GPTOSSStateDictAdapter says, of any other all. Throws
// Error(wrong_shape) where the tensor has too few dimensions.
TensorPart rank_part(std::string_view name, const Shape& shape, const DeviceMesh& mesh,
                     const std::vector<Placement>& expert_placements);

// The part of a tensor whose elements are whole bytes, in fresh memory.
Tensor copy_part(const Tensor& whole, const TensorPart& part);

// The part of the weights [experts, in, out] of packed tensors that fit one another, in fresh
// memory. Of `in` the blocks that cover it are decoded, and trimmed.
Tensor decode_part(const Tensor& blocks, const Tensor& scales, DType dtype, const TensorPart& part);

}  // namespace mxferry::internal
