#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "mxferry/config.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

// The kinds of weights that a gpt-oss model has, whatever a layout calls them.
enum class ParameterKind : std::uint8_t {
  embedding,
  attention_norm,
  query_weight,
  query_bias,
  key_weight,
  key_bias,
  value_weight,
  value_bias,
  output_weight,
  output_bias,
  sinks,
  mlp_norm,
  router_weight,
  router_bias,
  gate_up_weight,
  gate_up_bias,
  down_weight,
  down_bias,
  final_norm,
  head,
};
inline constexpr int kParameterKinds = 20;

// One weight of one model. `prefix` is what stands before the suffix in the hf and nemo layouts,
// usually "model.layers.N."; two spellings of the prefix are two parameters.
struct Parameter {
  ParameterKind kind = ParameterKind::embedding;
  std::optional<std::int64_t>
      layer;  // nullopt at the top level, or where the prefix has no layer number
  std::string prefix;

  bool operator==(const Parameter&) const = default;
  auto operator<=>(const Parameter&) const = default;
};

// Whether every layer has one, as opposed to the model.
constexpr bool is_per_layer(ParameterKind kind) noexcept {
  return kind != ParameterKind::embedding && kind != ParameterKind::final_norm &&
         kind != ParameterKind::head;
}

// The experts' weight matrices: the only parameters that are ever packed.
constexpr bool is_expert_weight(ParameterKind kind) noexcept {
  return kind == ParameterKind::gate_up_weight || kind == ParameterKind::down_weight;
}

// What each expert has for itself, weights and biases: their first dimension counts the experts.
constexpr bool is_expert_parameter(ParameterKind kind) noexcept {
  return is_expert_weight(kind) || kind == ParameterKind::gate_up_bias ||
         kind == ParameterKind::down_bias;
}

// The prefix that published checkpoints have: "model.layers.N.", "model." or "".
std::string published_prefix(ParameterKind kind, std::optional<std::int64_t> layer);

// The logical shape, [out, in], [expert, out, in] or [n]; nullopt where the config does not know a
// size that it needs.
std::optional<Shape> logical_shape(ParameterKind kind, const GptOssConfig& config);

// A plain name for people, for example "experts' gate and up projection".
const char* description(ParameterKind kind) noexcept;

}  // namespace mxferry::internal
