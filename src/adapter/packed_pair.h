#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "mxferry/placement.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

inline constexpr std::string_view kBlocksEnding = "_blocks";
inline constexpr std::string_view kScalesEnding = "_scales";

// The NAME of a pair NAME_blocks and NAME_scales, and the part of its weights [experts, in, out] to
// decode.
struct PackedPair {
  std::string name;
  TensorPart part;
};

// The pairs in a state dict, each to be decoded whole, in the order in which their first tensors
// appear. Checks that every pair can be decoded to `dtype`; errors as
// GPTOSSStateDictAdapter::dequantize_block_scale_tensors().
std::vector<PackedPair> find_packed_pairs(const StateDict& state_dict, DType dtype);

// The names in the state dict, in order, after these pairs are decoded.
std::vector<std::string> names_when_decoded(const StateDict& state_dict,
                                            const std::vector<PackedPair>& pairs);

// The scales' shape [experts, out, in / 32] for dense weights [experts, in, out]. Throws
// Error(wrong_shape) for any other shape; `name` is for messages.
Shape packed_scales_shape(std::string_view name, const Shape& dense);

// GPTOSSStateDictAdapter::quantize_moe_weights() for a tensor of this name.
GPTOSSStateDictAdapter::PackedTensors quantize_weights(std::string_view name, const Tensor& dense,
                                                       QuantMode mode,
                                                       const Tensor* reference_scales);

}  // namespace mxferry::internal
