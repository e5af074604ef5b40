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

// Suffixes of tensor names and what takes their place, in the order in which they are tried.
using KeyMapping = std::vector<std::pair<std::string, std::string>>;

// gpt-oss between Hugging Face's layout, packed or dense, and NeMo AutoModel's native one, in
// memory. The interface and the names are those of GPTOSSStateDictAdapter (Automodel 36044ad3,
// gpt_oss/state_dict_adapter.py). Packed experts are MXFP4 as mxferry/mxfp4.h describes it:
//
//   ..._blocks  U8 [experts, out, groups, B], B bytes of two weights each; 16 in checkpoints
//   ..._scales  U8 [experts, out, groups]
//
// and dense ones [experts, in, out] with in = groups * B * 2. Any sizes will do.
class GPTOSSStateDictAdapter final : public StateDictAdapter {
 public:
  // Only backend.attn changes a name: see BackendConfig. `dtype` is that of decoded weights: BF16,
  // F16 (rounded to nearest even, infinity beyond its range) or F32; for another
  // Error(invalid_argument).
  GPTOSSStateDictAdapter(GptOssConfig config, MoEConfig moe_config, BackendConfig backend,
                         DType dtype = DType::BF16);

  const GptOssConfig& config() const noexcept { return config_; }
  const MoEConfig& moe_config() const noexcept { return moe_config_; }
  const BackendConfig& backend() const noexcept { return backend_; }
  DType dtype() const noexcept { return dtype_; }

  // Hugging Face suffix to native suffix: four, and a fifth for the attention sinks with "te".
  const KeyMapping& hf_to_internal_map() const noexcept { return hf_to_internal_map_; }
  // The same pairs turned round.
  const KeyMapping& internal_to_hf_map() const noexcept { return internal_to_hf_map_; }

  using StateDictAdapter::convert_single_tensor_to_hf;
  using StateDictAdapter::from_hf;
  using StateDictAdapter::to_hf;

  // dequantize_block_scale_tensors(), then apply_key_mapping() with hf_to_internal_map(). Of the
  // experts' tensors, packed or dense, this rank's part remains, cut as expert_placements() says;
  // no more than that and the blocks that it cuts through is decoded, and what is less than the
  // whole is in fresh memory. All other tensors stay whole. Checked before anything is changed; the
  // errors of both and of expert_placements(), Error(wrong_shape) for a tensor of the experts
  // without a dimension that the mesh cuts, Error(unsupported) for a dense one of less than a byte
  // an element. After Error(not_enough_memory) some tensors are cut and some are not.
  void from_hf(StateDict& state_dict, const DeviceMesh& device_mesh) const override;

  // How a mesh cuts the native tensors of the experts, a placement for each of its dimensions: "ep"
  // cuts the experts, Shard(0), and "ep_shard" `in` of weights [experts, in, out] and `out` of
  // biases [experts, out], Shard(1); so NeMo AutoModel's expert parallelism with FSDP has them.
  // Other dimensions that NeMo AutoModel names replicate (0.7.0, MeshAxisName). The tensors are
  // those whose names end in mlp.experts.gate_and_up_projs, mlp.experts.down_projs,
  // mlp.experts.gate_up_proj_bias and mlp.experts.down_proj_bias; what FSDP does to others is not
  // this mesh's concern. Throws what DeviceMesh::check() throws, and Error(invalid_argument) for
  // any other name: experts would be cut along fewer dimensions than was meant.
  static std::vector<Placement> expert_placements(const DeviceMesh& device_mesh);

  // Renames with internal_to_hf_map(), keeping the order. With Quantization::storage a tensor whose
  // new name ends in gate_up_proj or down_proj, [experts, in, out] of any dtype, becomes two
  // placeholders, NAME_blocks [experts, out, in / 32, 16] and NAME_scales [experts, out, in / 32],
  // both U8, fresh and filled with ones; Error(wrong_shape) where it has other than three
  // dimensions or where `in` is no multiple of 32. With Quantization::values the two hold the
  // weights, quantized as quantize_moe_weights() does with QuantMode::gptoss; its errors too.
  // Error(name_collision) where two tensors get one name, Error(invalid_argument) for a regular
  // expression that Python would refuse.
  StateDict to_hf(const StateDict& state_dict, std::string_view exclude_key_regex,
                  Quantization quantization) const override;
  NamedTensors convert_single_tensor_to_hf(std::string_view name, const Tensor& tensor,
                                           std::string_view exclude_key_regex,
                                           Quantization quantization) const override;

  // Gives every name that ends in a suffix of the mapping the suffix's replacement. The first
  // suffix that fits wins; it fits wherever it ends a name, after a dot or not. Renamed tensors
  // move to the end, in order; the others keep their places. No tensor is copied.
  // Error(name_collision) where two tensors would get one name, before anything is changed.
  static void apply_key_mapping(StateDict& state_dict, const KeyMapping& mapping);

  // Replaces every pair NAME_blocks and NAME_scales by the dense NAME [experts, in, out] of
  // dtype(), at the end, in the order in which the pairs begin. The dict lets go of each pair
  // before the next is decoded: with no other owner of the packed tensors, the peak is the result
  // and one pair. All pairs are checked before anything is changed: Error(missing_partner),
  // Error(wrong_dtype), Error(wrong_shape), Error(size_overflow), and Error(name_collision) where
  // NAME is there already, with the tensor, what was expected and what was found. After
  // Error(not_enough_memory) the pairs that were decoded stay so, the others are untouched.
  void dequantize_block_scale_tensors(StateDict& state_dict) const;

  // The dense tensor [experts, in, out] of one pair, in fresh memory: exact in BF16 and F32, and
  // scale 255 is NaN (mxferry/mxfp4.h). B = 16 is fast, any other works. It is decoded in place and
  // needs no temporary memory, so `rows_per_chunk`, which bounds that elsewhere, changes nothing;
  // it is at least 1. Errors as dequantize_block_scale_tensors(), and Error(invalid_argument) for
  // another dtype than BF16, F16 and F32, or for rows_per_chunk.
  static Tensor convert_moe_packed_tensors(const Tensor& blocks, const Tensor& scales,
                                           DType dtype = DType::BF16,
                                           std::int64_t rows_per_chunk = std::int64_t{1} << 25);

  // The way back from convert_moe_packed_tensors(): blocks [experts, out, in / 32, 16] and scales
  // [experts, out, in / 32], both U8, of dense weights [experts, in, out] in BF16, F16 or F32.
  // Blocks that are exact under `reference_scales`, of the scales' shape, keep them; null for none.
  // Error(wrong_dtype) and Error(wrong_shape) as for storage, Error(nonfinite_weight) with expert,
  // row and column of the first weight that MXFP4 cannot hold: NaN, infinite, or so large that its
  // block would decode to infinity.
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
