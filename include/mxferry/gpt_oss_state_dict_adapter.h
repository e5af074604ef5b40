#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mxferry/config.h"
#include "mxferry/mxfp4.h"
#include "mxferry/placement.h"
#include "mxferry/quant_mode.h"
#include "mxferry/state_dict_adapter.h"

namespace mxferry {

// Suffixes of tensor names and their replacements, in the order in which they are tried.
using KeyMapping = std::vector<std::pair<std::string, std::string>>;

// Converts gpt-oss in memory between Hugging Face's layout, packed or dense, and NeMo AutoModel's
// native one. The interface and the names are those of GPTOSSStateDictAdapter (Automodel 36044ad3,
// gpt_oss/state_dict_adapter.py). Packed experts are MXFP4 as described in mxferry/mxfp4.h:
//
//   ..._blocks  U8 [experts, out, groups, B], B bytes of two weights each; 16 in checkpoints
//   ..._scales  U8 [experts, out, groups]
//
// Dense experts are [experts, in, out] with in = groups * B * 2. Any sizes work.
class GPTOSSStateDictAdapter final : public StateDictAdapter {
 public:
  // Only backend.attn changes a name: see BackendConfig. `dtype` is the dtype of decoded weights:
  // BF16, F16 (rounded to nearest even, infinity beyond its range) or F32. Throws
  // Error(invalid_argument) for any other.
  GPTOSSStateDictAdapter(GptOssConfig config, MoEConfig moe_config, BackendConfig backend,
                         DType dtype = DType::BF16);

  const GptOssConfig& config() const noexcept { return config_; }
  const MoEConfig& moe_config() const noexcept { return moe_config_; }
  const BackendConfig& backend() const noexcept { return backend_; }
  DType dtype() const noexcept { return dtype_; }

  // Hugging Face suffix to native suffix: four, plus one for the attention sinks with "te".
  const KeyMapping& hf_to_internal_map() const noexcept { return hf_to_internal_map_; }
  // The same pairs reversed.
  const KeyMapping& internal_to_hf_map() const noexcept { return internal_to_hf_map_; }

  using StateDictAdapter::convert_single_tensor_to_hf;
  using StateDictAdapter::from_hf;
  using StateDictAdapter::to_hf;

  // Calls dequantize_block_scale_tensors(), then apply_key_mapping() with hf_to_internal_map(). Of
  // the experts' tensors, packed or dense, only this rank's part remains, cut according to
  // expert_placements(). With B = 16, only that part and the blocks that its edges cut through are
  // decoded. A part smaller than its tensor is in new memory. All other tensors stay whole.
  // Everything is checked before anything is changed. Throws the errors of both functions and of
  // expert_placements(), Error(wrong_shape) for an expert tensor that lacks a dimension that the
  // mesh cuts, and Error(unsupported) if a dense expert tensor to be cut has elements smaller than
  // a byte. After Error(not_enough_memory) some tensors are cut and some are not.
  void from_hf(StateDict& state_dict, const DeviceMesh& device_mesh) const override;

  // How a mesh cuts the experts' native tensors, as one placement per mesh dimension: "ep" cuts the
  // experts, Shard(0); "ep_shard" cuts `in` of weights [experts, in, out] and `out` of biases
  // [experts, out], Shard(1). This matches NeMo AutoModel's expert parallelism with FSDP. The other
  // dimensions that NeMo AutoModel names replicate (0.7.0, MeshAxisName). The tensors are those
  // whose names end in mlp.experts.gate_and_up_projs, mlp.experts.down_projs,
  // mlp.experts.gate_up_proj_bias and mlp.experts.down_proj_bias; this mesh does not cover what
  // FSDP does to others. Throws what DeviceMesh::check() throws, and Error(invalid_argument) for
  // any other name: experts would be cut along fewer dimensions than intended.
  static std::vector<Placement> expert_placements(const DeviceMesh& device_mesh);

  // Renames with internal_to_hf_map(), keeping the order. With Quantization::storage, a tensor
  // whose new name ends in gate_up_proj or down_proj, [experts, in, out] of any dtype, becomes two
  // placeholders, NAME_blocks [experts, out, in / 32, 16] and NAME_scales [experts, out, in / 32],
  // both new U8 tensors filled with ones. With Quantization::values, the two hold the weights,
  // quantized as by quantize_moe_weights() with QuantMode::gptoss, whose errors this throws too.
  // Throws Error(wrong_shape) if such a tensor does not have three dimensions or `in` is not a
  // multiple of 32, Error(name_collision) if two tensors get the same name, Error(invalid_argument)
  // for a regular expression that Python would reject.
  StateDict to_hf(const StateDict& state_dict, std::string_view exclude_key_regex,
                  Quantization quantization) const override;
  NamedTensors convert_single_tensor_to_hf(std::string_view name, const Tensor& tensor,
                                           std::string_view exclude_key_regex,
                                           Quantization quantization) const override;

  // Replaces the suffix of every name that ends in a suffix of the mapping. The first match in the
  // mapping wins; a suffix need not follow a dot. Renamed tensors move to the end, in order; the
  // others keep their places. No tensor is copied. Throws Error(name_collision) if two tensors
  // would get the same name, before anything is changed.
  static void apply_key_mapping(StateDict& state_dict, const KeyMapping& mapping);

  // Replaces every pair NAME_blocks and NAME_scales with the dense NAME [experts, in, out] of
  // dtype(), at the end, in the order in which the pairs begin. The dict releases each pair before
  // the next is decoded: if the packed tensors have no other owner, peak memory is the result and
  // one pair. All pairs are checked before anything is changed: Error(missing_partner),
  // Error(wrong_dtype), Error(wrong_shape), Error(size_overflow), and Error(name_collision) if NAME
  // already exists. Each names the tensor and what was expected and found. After
  // Error(not_enough_memory) the pairs decoded so far stay decoded; the others are untouched.
  void dequantize_block_scale_tensors(StateDict& state_dict) const;

  // The dense tensor [experts, in, out] of one pair, in new memory: exact in BF16 and F32; scale
  // 255 is NaN (mxferry/mxfp4.h). B = 16 is fast; any other B works. Decoding needs no temporary
  // memory, so `rows_per_chunk`, which bounds that in NeMo AutoModel, has no effect; it must be at
  // least 1. Throws the errors of dequantize_block_scale_tensors(), and Error(invalid_argument) for
  // a dtype other than BF16, F16 and F32, or a bad rows_per_chunk.
  static Tensor convert_moe_packed_tensors(const Tensor& blocks, const Tensor& scales,
                                           DType dtype = DType::BF16,
                                           std::int64_t rows_per_chunk = std::int64_t{1} << 25);

  // The inverse of convert_moe_packed_tensors(): blocks [experts, out, in / 32, 16] and scales
  // [experts, out, in / 32], both U8, from dense weights [experts, in, out] in BF16, F16 or F32.
  // Blocks that are exact under `reference_scales`, shaped like the scales, keep those scales; null
  // for none. Throws Error: wrong_dtype, wrong_shape (weights as for Quantization::storage, or
  // reference scales), nonfinite_weight with expert, row and column of the first weight that MXFP4
  // cannot hold: NaN, infinite, or so large that its block would decode to infinity.
  struct PackedTensors {
    Tensor blocks;
    Tensor scales;
  };
  static PackedTensors quantize_moe_weights(const Tensor& weights,
                                            QuantMode mode = QuantMode::gptoss,
                                            const Tensor* reference_scales = nullptr);

 private:
  GptOssConfig config_;
  MoEConfig moe_config_;
  BackendConfig backend_;
  DType dtype_;
  KeyMapping hf_to_internal_map_;
  KeyMapping internal_to_hf_map_;
};

}  // namespace mxferry
