#include "gpt_oss/geometry.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

class Shapes {
 public:
  explicit Shapes(const std::vector<NamedShape>& shapes) : shapes_(shapes) {}

  // The size of one dimension of the first such tensor; 0 if there is none.
  std::int64_t size(ParameterKind kind, std::size_t dimension, bool blocks = false,
                    bool fused = false) const {
    const auto found = std::ranges::find_if(shapes_, [&](const NamedShape& entry) {
      return entry.kind == kind && entry.blocks == blocks && entry.fused == fused;
    });
    return found == shapes_.end() || found->shape.size() <= dimension ? 0 : found->shape[dimension];
  }

 private:
  const std::vector<NamedShape>& shapes_;
};

void fill(std::int64_t& field, std::int64_t value) {
  // An impossible size (from a hostile shape) leaves the field unknown.
  if (field == 0 && value > 0 && value < (std::int64_t{1} << 31)) field = value;
}

}  // namespace

void complete_geometry(GptOssConfig& config, const std::vector<NamedShape>& named_shapes) {
  using enum ParameterKind;
  const Shapes shapes(named_shapes);
  fill(config.hidden_size, shapes.size(attention_norm, 0));
  fill(config.hidden_size, shapes.size(final_norm, 0));
  fill(config.hidden_size, shapes.size(embedding, 1));
  fill(config.hidden_size, shapes.size(down_bias, 1));
  fill(config.hidden_size, shapes.size(down_weight, 1, true));
  fill(config.num_local_experts, shapes.size(router_bias, 0));
  fill(config.num_local_experts, shapes.size(gate_up_bias, 0));
  fill(config.num_local_experts, shapes.size(gate_up_weight, 0, true));
  fill(config.num_local_experts, shapes.size(gate_up_weight, 0));
  fill(config.intermediate_size, shapes.size(gate_up_bias, 1) / 2);
  fill(config.intermediate_size, shapes.size(gate_up_weight, 1, true) / 2);
  const std::int64_t blocks_groups = shapes.size(down_weight, 2, true);
  if (blocks_groups < (std::int64_t{1} << 26))
    fill(config.intermediate_size, blocks_groups * kBlockSize);
  fill(config.vocab_size, shapes.size(embedding, 0));
  fill(config.vocab_size, shapes.size(head, 0));
  fill(config.num_attention_heads, shapes.size(sinks, 0));
  const std::int64_t query_rows =
      std::max(shapes.size(query_bias, 0), shapes.size(output_weight, 1));
  if (config.num_attention_heads > 0)
    fill(config.head_dim, query_rows / config.num_attention_heads);
  if (config.head_dim > 0) {
    fill(config.num_key_value_heads, shapes.size(key_bias, 0) / config.head_dim);
    const std::int64_t fused = shapes.size(query_bias, 0, false, true);
    fill(config.num_key_value_heads, (fused - query_rows) / 2 / config.head_dim);
  }
}

}  // namespace mxferry::internal
