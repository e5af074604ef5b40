#include "mxferry/gpt_oss_state_dict_adapter.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "adapter/key_mapping.h"
#include "adapter/packed_pair.h"
#include "adapter/rank_part.h"
#include "base/name_regex.h"
#include "gpt_oss/layout_table.h"
#include "mxferry/error.h"

namespace mxferry {

using namespace internal;

namespace {

// Names to leave out; an empty regular expression excludes nothing.
class Exclusion {
 public:
  explicit Exclusion(std::string_view regex) {
    if (!regex.empty()) regex_.emplace(regex);
  }
  bool excludes(std::string_view name) const { return regex_ && regex_->matches_start(name); }

 private:
  std::optional<NameRegex> regex_;
};

Tensor ones(Shape shape) {
  Tensor tensor = Tensor::empty(DType::U8, std::move(shape));
  std::memset(tensor.data(), 1, tensor.byte_count());
  return tensor;
}

// Placeholders for a loader to fill.
GPTOSSStateDictAdapter::PackedTensors storage_for(std::string_view name, const Tensor& dense) {
  Shape scales = packed_scales_shape(name, dense.shape());
  Shape blocks = scales;
  blocks.push_back(kBlockBytes);
  return {ones(std::move(blocks)), ones(std::move(scales))};
}

bool is_expert_name(std::string_view hf_name) {
  return hf_name.ends_with("gate_up_proj") || hf_name.ends_with("down_proj");
}

StateDictAdapter::NamedTensors convert(std::string_view name, const Tensor& tensor,
                                       const KeyMapping& mapping, const Exclusion& exclusion,
                                       Quantization quantization) {
  StateDictAdapter::NamedTensors result;
  std::string hf_name = mapped_name(name, mapping).value_or(std::string(name));
  if (quantization == Quantization::none || !is_expert_name(hf_name)) {
    if (!exclusion.excludes(hf_name)) result.emplace_back(std::move(hf_name), tensor);
    return result;
  }
  std::string blocks = hf_name + std::string(kBlocksEnding);
  std::string scales = hf_name + std::string(kScalesEnding);
  const bool keeps_blocks = !exclusion.excludes(blocks);
  const bool keeps_scales = !exclusion.excludes(scales);
  if (!keeps_blocks && !keeps_scales) return result;
  auto packed = quantization == Quantization::storage
                    ? storage_for(name, tensor)
                    : quantize_weights(name, tensor, QuantMode::gptoss, nullptr);
  if (keeps_blocks) result.emplace_back(std::move(blocks), std::move(packed.blocks));
  if (keeps_scales) result.emplace_back(std::move(scales), std::move(packed.scales));
  return result;
}

void decode_pairs(StateDict& state_dict, const std::vector<PackedPair>& pairs, DType dtype) {
  for (const auto& [name, part] : pairs) {
    const std::string blocks = name + std::string(kBlocksEnding);
    const std::string scales = name + std::string(kScalesEnding);
    Tensor dense = decode_part(state_dict.at(blocks), state_dict.at(scales), dtype, part);
    state_dict.pop(blocks);
    state_dict.pop(scales);
    state_dict.set(name, std::move(dense));
  }
}

// The tensors of which a rank keeps only a part. Throws Error(unsupported) if one of them has
// elements that are not whole bytes.
std::vector<std::pair<std::string, TensorPart>> find_dense_cuts(
    const StateDict& state_dict, const DeviceMesh& mesh, const std::vector<Placement>& placements) {
  std::vector<std::pair<std::string, TensorPart>> cuts;
  for (const auto& [name, tensor] : state_dict) {
    TensorPart part = rank_part(name, tensor.shape(), mesh, placements);
    if (part.extent == tensor.shape()) continue;
    if (bits(tensor.dtype()) % 8 != 0) {
      throw Error(ErrorCode::unsupported,
                  {.problem = "elements that share bytes cannot be cut apart",
                   .tensor = name,
                   .expected = "a dtype of whole bytes",
                   .found = std::string(mxferry::name(tensor.dtype()))});
    }
    cuts.emplace_back(name, std::move(part));
  }
  return cuts;
}

}  // namespace

GPTOSSStateDictAdapter::GPTOSSStateDictAdapter(GptOssConfig config, MoEConfig moe_config,
                                               BackendConfig backend, DType dtype)
    : config_(config),
      moe_config_(moe_config),
      backend_(std::move(backend)),
      dtype_(dtype),
      hf_to_internal_map_(renamed_suffixes(backend_.attn)) {
  if (!is_dense_float(dtype)) {
    throw Error(ErrorCode::invalid_argument, {.problem = "weights are not decoded to this dtype",
                                              .expected = "BF16, F16 or F32",
                                              .found = std::string(name(dtype))});
  }
  for (const auto& [hf, internal] : hf_to_internal_map_) {
    internal_to_hf_map_.emplace_back(internal, hf);
  }
}

void GPTOSSStateDictAdapter::from_hf(StateDict& state_dict, const DeviceMesh& device_mesh) const {
  const std::vector<Placement> placements = expert_placements(device_mesh);
  std::vector<PackedPair> pairs = find_packed_pairs(state_dict, dtype_);
  check_key_mapping(names_when_decoded(state_dict, pairs), hf_to_internal_map_);
  for (PackedPair& pair : pairs) {
    pair.part = rank_part(pair.name, pair.part.extent, device_mesh, placements);
  }
  for (const auto& [name, part] : find_dense_cuts(state_dict, device_mesh, placements)) {
    state_dict.set(name, copy_part(state_dict.at(name), part));
  }
  decode_pairs(state_dict, pairs, dtype_);
  apply_key_mapping(state_dict, hf_to_internal_map_);
}

void GPTOSSStateDictAdapter::dequantize_block_scale_tensors(StateDict& state_dict) const {
  decode_pairs(state_dict, find_packed_pairs(state_dict, dtype_), dtype_);
}

StateDict GPTOSSStateDictAdapter::to_hf(const StateDict& state_dict,
                                        std::string_view exclude_key_regex,
                                        Quantization quantization) const {
  const Exclusion exclusion(exclude_key_regex);
  StateDict result;
  for (const auto& [name, tensor] : state_dict) {
    for (auto& [hf_name, converted] :
         convert(name, tensor, internal_to_hf_map_, exclusion, quantization)) {
      if (result.contains(hf_name)) fail_collision(hf_name, hf_name, name);
      result.set(hf_name, std::move(converted));
    }
  }
  return result;
}

StateDictAdapter::NamedTensors GPTOSSStateDictAdapter::convert_single_tensor_to_hf(
    std::string_view name, const Tensor& tensor, std::string_view exclude_key_regex,
    Quantization quantization) const {
  return convert(name, tensor, internal_to_hf_map_, Exclusion(exclude_key_regex), quantization);
}

}  // namespace mxferry
