#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "mxferry/config.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

// The kinds of weights in a gpt-oss model, whatever a layout calls them.
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

// One weight of one model. `prefix` is the part of the name before the suffix in the hf and nemo
// layouts, usually "model.layers.N."; two spellings of the prefix are two parameters.
struct Parameter {
  ParameterKind kind = ParameterKind::embedding;
  // nullopt at the top level, or if the prefix has no layer number
  std::optional<std::int64_t> layer;
  std::string prefix;

  bool operator==(const Parameter&) const = default;
  auto operator<=>(const Parameter&) const = default;
};

// The model sizes that a dimension can have.
enum class Size : std::uint8_t {
  none,  // no such dimension
  experts,
  hidden,
  intermediate,
  gate_up_rows,  // 2 * intermediate
  vocab,
  heads,
  query_rows,  // heads * head_dim
  key_rows,    // key_value_heads * head_dim
};

// The part of the model that a parameter belongs to.
enum class ModelPart : std::uint8_t { embedding, norms, attention, router, experts, head };

const char* name(ModelPart part) noexcept;

// One kind of parameter. The table of these rows defines the model family.
struct KindRow {
  ParameterKind kind = ParameterKind::embedding;
  const char* words = "";  // for people
  ModelPart part = ModelPart::embedding;
  bool per_layer = true;        // each layer has one, rather than the model as a whole
  bool packable = false;        // may be stored as MXFP4
  bool essential = true;        // a model without it computes nonsense; biases count as zero
  std::array<Size, 3> shape{};  // logical: [n], [out, in] or [expert, out, in]
};

// By ParameterKind.
// clang-format off
inline constexpr std::array<KindRow, kParameterKinds> kKindRows = [] {
  using K = ParameterKind;
  using P = ModelPart;
  using enum Size;
  return std::array<KindRow, kParameterKinds>{{
      {K::embedding, "token embedding", P::embedding, false, false, true, {vocab, hidden}},
      {K::attention_norm, "attention norm", P::norms, true, false, true, {hidden}},
      {K::query_weight, "query projection", P::attention, true, false, true, {query_rows, hidden}},
      {K::query_bias, "query bias", P::attention, true, false, false, {query_rows}},
      {K::key_weight, "key projection", P::attention, true, false, true, {key_rows, hidden}},
      {K::key_bias, "key bias", P::attention, true, false, false, {key_rows}},
      {K::value_weight, "value projection", P::attention, true, false, true, {key_rows, hidden}},
      {K::value_bias, "value bias", P::attention, true, false, false, {key_rows}},
      {K::output_weight, "attention output projection", P::attention, true, false, true,
       {hidden, query_rows}},
      {K::output_bias, "attention output bias", P::attention, true, false, false, {hidden}},
      {K::sinks, "attention sinks", P::attention, true, false, true, {heads}},
      {K::mlp_norm, "MLP norm", P::norms, true, false, true, {hidden}},
      {K::router_weight, "router", P::router, true, false, true, {experts, hidden}},
      {K::router_bias, "router bias", P::router, true, false, false, {experts}},
      {K::gate_up_weight, "experts' gate and up projection", P::experts, true, true, true,
       {experts, gate_up_rows, hidden}},
      {K::gate_up_bias, "experts' gate and up bias", P::experts, true, false, false,
       {experts, gate_up_rows}},
      {K::down_weight, "experts' down projection", P::experts, true, true, true,
       {experts, hidden, intermediate}},
      {K::down_bias, "experts' down bias", P::experts, true, false, false, {experts, hidden}},
      {K::final_norm, "final norm", P::norms, false, false, true, {hidden}},
      {K::head, "head", P::head, false, false, true, {vocab, hidden}},
  }};
}();
// clang-format on

constexpr const KindRow& kind_row(ParameterKind kind) noexcept {
  return kKindRows[static_cast<std::size_t>(kind)];
}

constexpr bool is_per_layer(ParameterKind kind) noexcept {
  return kind_row(kind).per_layer;
}

// The experts' weight matrices: the only parameters that are ever packed.
constexpr bool is_expert_weight(ParameterKind kind) noexcept {
  return kind_row(kind).packable;
}

// Weights and biases that exist per expert: their first dimension counts the experts.
constexpr bool is_expert_parameter(ParameterKind kind) noexcept {
  return kind_row(kind).part == ModelPart::experts;
}

// The prefix in published checkpoints: "model.layers.N.", "model." or "".
std::string published_prefix(ParameterKind kind, std::optional<std::int64_t> layer);

// The logical shape, [out, in], [expert, out, in] or [n]; nullopt if the config lacks a size that
// it needs.
std::optional<Shape> logical_shape(ParameterKind kind, const GptOssConfig& config);

// A plain name for people, for example "experts' gate and up projection".
constexpr const char* description(ParameterKind kind) noexcept {
  return kind_row(kind).words;
}

}  // namespace mxferry::internal
