#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mxferry/tensor.h"

namespace mxferry {

inline constexpr std::string_view kBlocksEnding = "_blocks";
inline constexpr std::string_view kScalesEnding = "_scales";

// The names NAME of the pairs NAME_blocks, NAME_scales in a state dict, in the order in which the
// pairs begin. Every pair is checked to be decodable to `dtype`; errors as
// GPTOSSStateDictAdapter::dequantize_block_scale_tensors().
std::vector<std::string> find_packed_pairs(const StateDict& state_dict, DType dtype);

// The names that the state dict will have, in order, when these pairs are decoded.
std::vector<std::string> names_when_decoded(const StateDict& state_dict,
                                            const std::vector<std::string>& pairs);

}  // namespace mxferry
