#include "gpt_oss/parameter.h"

namespace mxferry::internal {
namespace {

static_assert([] {
  for (std::size_t i = 0; i < kKindRows.size(); ++i) {
    if (static_cast<std::size_t>(kKindRows[i].kind) != i) return false;
  }
  return true;
}());

std::int64_t value_of(Size size, const GptOssConfig& config) {
  switch (size) {
    case Size::none:
      break;
    case Size::experts:
      return config.num_local_experts;
    case Size::hidden:
      return config.hidden_size;
    case Size::intermediate:
      return config.intermediate_size;
    case Size::gate_up_rows:
      return 2 * config.intermediate_size;
    case Size::vocab:
      return config.vocab_size;
    case Size::heads:
      return config.num_attention_heads;
    case Size::query_rows:
      return config.num_attention_heads * config.head_dim;
    case Size::key_rows:
      return config.num_key_value_heads * config.head_dim;
  }
  return 0;
}

}  // namespace

std::string published_prefix(ParameterKind kind, std::optional<std::int64_t> layer) {
  if (kind == ParameterKind::head) return "";
  if (!is_per_layer(kind)) return "model.";
  return "model.layers." + std::to_string(layer.value_or(0)) + ".";
}

std::optional<Shape> logical_shape(ParameterKind kind, const GptOssConfig& config) {
  Shape shape;
  for (const Size size : kind_row(kind).shape) {
    if (size == Size::none) break;
    shape.push_back(value_of(size, config));
    if (shape.back() <= 0) return std::nullopt;
  }
  return shape;
}

const char* name(ModelPart part) noexcept {
  constexpr std::array<const char*, 6> kNames = {"embedding", "norms",   "attention",
                                                 "router",    "experts", "head"};
  return kNames[static_cast<std::size_t>(part)];
}

}  // namespace mxferry::internal
