#include "gpt_oss/parameter.h"

#include <algorithm>

namespace mxferry::internal {

std::string published_prefix(ParameterKind kind, std::optional<std::int64_t> layer) {
  if (kind == ParameterKind::head) return "";
  if (!is_per_layer(kind)) return "model.";
  return "model.layers." + std::to_string(layer.value_or(0)) + ".";
}

std::optional<Shape> logical_shape(ParameterKind kind, const GptOssConfig& config) {
  const std::int64_t query_rows = config.num_attention_heads * config.head_dim;
  const std::int64_t key_rows = config.num_key_value_heads * config.head_dim;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  const std::int64_t experts = config.num_local_experts;
  Shape shape = [&]() -> Shape {
    switch (kind) {
      case ParameterKind::embedding:
      case ParameterKind::head:
        return {config.vocab_size, hidden};
      case ParameterKind::attention_norm:
      case ParameterKind::mlp_norm:
      case ParameterKind::final_norm:
      case ParameterKind::output_bias:
        return {hidden};
      case ParameterKind::query_weight:
        return {query_rows, hidden};
      case ParameterKind::query_bias:
        return {query_rows};
      case ParameterKind::key_weight:
      case ParameterKind::value_weight:
        return {key_rows, hidden};
      case ParameterKind::key_bias:
      case ParameterKind::value_bias:
        return {key_rows};
      case ParameterKind::output_weight:
        return {hidden, query_rows};
      case ParameterKind::sinks:
        return {config.num_attention_heads};
      case ParameterKind::router_weight:
        return {experts, hidden};
      case ParameterKind::router_bias:
        return {experts};
      case ParameterKind::gate_up_weight:
        return {experts, 2 * inner, hidden};
      case ParameterKind::gate_up_bias:
        return {experts, 2 * inner};
      case ParameterKind::down_weight:
        return {experts, hidden, inner};
      case ParameterKind::down_bias:
        return {experts, hidden};
    }
    return {};
  }();
  if (std::ranges::any_of(shape, [](std::int64_t size) { return size <= 0; })) return std::nullopt;
  return shape;
}

const char* description(ParameterKind kind) noexcept {
  switch (kind) {
    case ParameterKind::embedding:
      return "token embedding";
    case ParameterKind::attention_norm:
      return "attention norm";
    case ParameterKind::query_weight:
      return "query projection";
    case ParameterKind::query_bias:
      return "query bias";
    case ParameterKind::key_weight:
      return "key projection";
    case ParameterKind::key_bias:
      return "key bias";
    case ParameterKind::value_weight:
      return "value projection";
    case ParameterKind::value_bias:
      return "value bias";
    case ParameterKind::output_weight:
      return "attention output projection";
    case ParameterKind::output_bias:
      return "attention output bias";
    case ParameterKind::sinks:
      return "attention sinks";
    case ParameterKind::mlp_norm:
      return "MLP norm";
    case ParameterKind::router_weight:
      return "router";
    case ParameterKind::router_bias:
      return "router bias";
    case ParameterKind::gate_up_weight:
      return "experts' gate and up projection";
    case ParameterKind::gate_up_bias:
      return "experts' gate and up bias";
    case ParameterKind::down_weight:
      return "experts' down projection";
    case ParameterKind::down_bias:
      return "experts' down bias";
    case ParameterKind::final_norm:
      return "final norm";
    case ParameterKind::head:
      return "head";
  }
  return "unknown";
}

}  // namespace mxferry::internal
