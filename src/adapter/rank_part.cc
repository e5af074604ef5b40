#include "adapter/rank_part.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/parallel.h"
#include "flow/region.h"
#include "gpt_oss/layout_table.h"
#include "mxferry/dequantize.h"
#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "mxferry/mxfp4.h"
#include "tensor/strides.h"

namespace mxferry::internal {

namespace {

// NeMo AutoModel's names for mesh dimensions (0.7.0, distributed/mesh.py, MeshAxisName), except the
// two that cut experts.
constexpr std::array<std::string_view, 8> kReplicating = {
    "pp", "dp", "dp_replicate", "dp_shard", "dp_shard_cp", "dp_cp", "cp", "tp"};

bool is_expert_tensor(std::string_view name) {
  const auto names_it = [&](const LayoutRow& row) {
    return is_expert_parameter(row.kind) && name.ends_with(row.suffix);
  };
  return std::ranges::any_of(layout_rows(Layout::nemo, "flex"), names_it) ||
         std::ranges::any_of(layout_rows(Layout::hf, "flex"), names_it);
}

class TensorSource final : public Source {
 public:
  explicit TensorSource(std::vector<const std::byte*> tensors) : tensors_(std::move(tensors)) {}

  void read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const override {
    std::memcpy(buffer.data(), tensors_[tensor] + offset, buffer.size());
  }

 private:
  std::vector<const std::byte*> tensors_;
};

// Reads a part of the tensor of this shape that the recipe fills.
Tensor read_part(const Recipe& recipe, const Shape& shape, DType dtype, const TensorPart& part,
                 const Source& source) {
  Tensor result = Tensor::empty(dtype, part.extent);
  if (result.element_count() == 0) return result;
  const RegionRead region{.recipe = &recipe,
                          .shape = shape,
                          .begin = part.begin,
                          .extent = part.extent,
                          .data = result.data(),
                          .strides = row_major_strides(part.extent),
                          .from = dtype,
                          .to = dtype};
  read_regions({region}, source, {.threads = available_threads()});
  return result;
}

}  // namespace

TensorPart rank_part(std::string_view name, const Shape& shape, const DeviceMesh& mesh,
                     const std::vector<Placement>& expert_placements) {
  if (!is_expert_tensor(name)) return local_part(shape, {}, {});
  std::size_t dimensions = 0;  // needed by the cuts
  for (const Placement& placement : expert_placements) {
    const Shard* const shard = std::get_if<Shard>(&placement);
    if (shard != nullptr)
      dimensions = std::max(dimensions, static_cast<std::size_t>(shard->dim) + 1);
  }
  if (shape.size() < dimensions) {
    throw Error(ErrorCode::wrong_shape,
                {.problem = "the mesh cuts a dimension that this tensor of the experts has not",
                 .tensor = std::string(name),
                 .expected = "at least " + std::to_string(dimensions) + " dimensions",
                 .found = to_string(shape)});
  }
  return local_part(shape, mesh, expert_placements);
}

Tensor copy_part(const Tensor& whole, const TensorPart& part) {
  const Recipe recipe{.operation = Operation::copy};
  return read_part(recipe, whole.shape(), whole.dtype(), part, TensorSource({whole.data()}));
}

Tensor decode_part(const Tensor& blocks, const Tensor& scales, DType dtype,
                   const TensorPart& part) {
  const Shape& packed = blocks.shape();
  const Shape shape = {packed[0], packed[2] * packed[3] * 2, packed[1]};
  if (part.extent == shape) return dequantize(blocks, scales, dtype);
  if (packed[3] != kBlockBytes) return copy_part(dequantize(blocks, scales, dtype), part);
  const Recipe recipe{.operation = Operation::decode,
                      .source = 0,
                      .source_scales = 1,
                      .to = dtype,
                      .target_order = AxisOrder::in_out,
                      .experts = packed[0],
                      .rows = packed[1],
                      .columns = shape[1]};
  return read_part(recipe, shape, dtype, part, TensorSource({blocks.data(), scales.data()}));
}

}  // namespace mxferry::internal

namespace mxferry {

using namespace internal;

std::vector<Placement> GPTOSSStateDictAdapter::expert_placements(const DeviceMesh& device_mesh) {
  device_mesh.check();
  std::vector<Placement> placements;
  for (const DeviceMesh::Dimension& dimension : device_mesh.dimensions) {
    if (dimension.name == "ep") {
      placements.emplace_back(Shard{0});
    } else if (dimension.name == "ep_shard") {
      placements.emplace_back(Shard{1});
    } else if (std::ranges::find(kReplicating, dimension.name) != kReplicating.end()) {
      placements.emplace_back(Replicate());
    } else {
      std::string known = "ep, ep_shard";
      for (const std::string_view name : kReplicating) known.append(", ").append(name);
      throw Error(ErrorCode::invalid_argument,
                  {.problem = "unknown dimension of a mesh",
                   .expected = known,
                   .found = "'" + dimension.name + "'",
                   .advice = "Leave out dimensions that do not cut the experts"});
    }
  }
  return placements;
}

}  // namespace mxferry
