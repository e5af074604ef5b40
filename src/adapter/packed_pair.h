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

// NAME of a pair NAME_blocks, NAME_scales, and what is to be decoded of its weights [experts, in,
// out].
struct PackedPair {
  std::string name;
  TensorPart part;
};

// The pairs in a state dict, in the order in which they begin, to be decoded as wholes. Every pair
// is checked to be decodable to `dtype`; errors as
// GPTOSSStateDictAdapter::dequantize_block_scale_tensors().
std::vector<PackedPair> find_packed_pairs(const StateDict& state_dict, DType dtype);

// The names that the state dict will have, in order, when these pairs are decoded.
std::vector<std::string> names_when_decoded(const StateDict& state_dict,
                                            const std::vector<PackedPair>& pairs);

// [experts, out, in / 32] of a dense [experts, in, out]. Throws Error(wrong_shape) for any other
// shape; `name` is for messages.
Shape packed_scales_shape(std::string_view name, const Shape& dense);

// GPTOSSStateDictAdapter::quantize_moe_weights() of a tensor of this name.
GPTOSSStateDictAdapter::PackedTensors quantize_weights(std::string_view name, const Tensor& dense,
                                                       QuantMode mode,
                                                       const Tensor* reference_scales);

}  // namespace mxferry::internal
