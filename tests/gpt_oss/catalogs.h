#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gpt_oss/layout_table.h"
#include "gpt_oss/name_template.h"
#include "gpt_oss/parameter.h"
#include "mxferry/config.h"
#include "mxferry/mxfp4.h"
#include "recipe/catalog.h"

// Whole checkpoints as their headers tell them. The hidden size differs from the intermediate size,
// so that a wrong orientation shows.
namespace mxferry::internal::testing {

inline constexpr GptOssConfig kConfig = {.num_hidden_layers = 2,
                                         .num_local_experts = 3,
                                         .hidden_size = 64,
                                         .intermediate_size = 96,
                                         .num_attention_heads = 4,
                                         .num_key_value_heads = 2,
                                         .head_dim = 8,
                                         .vocab_size = 40};

struct Stored {
  Layout layout = Layout::hf;
  std::string attn = "flex";
  bool packed = false;
  DType dtype = DType::BF16;
  bool swapped = false;  // dense experts in the order that the layout does not have
};

inline StoredTensor stored_tensor(std::string name, DType dtype, Shape shape) {
  const auto bytes = static_cast<std::uint64_t>(element_count(shape) * bits(dtype) / 8);
  return {std::move(name), dtype, std::move(shape), 0, 0, bytes};
}

// Whether its dense experts have one order alone: rows of gate and up are told by their tensor.
inline bool has_gate_and_up_apart(Layout layout) {
  return has_half_field(layout_row(layout, "flex", ParameterKind::gate_up_weight).suffix);
}

// Adds a tensor, or the stack that stack_tensors() makes of several.
inline void add_stored(Catalog& catalog, StoredTensor tensor) {
  if (has_fields(tensor.name)) tensor.stacked = 1;
  catalog.push_back(std::move(tensor));
}

inline void add_parameter(Catalog& catalog, const Stored& stored, const GptOssConfig& config,
                          const Parameter& parameter) {
  const LayoutRow& row = layout_row(stored.layout, stored.attn, parameter.kind);
  const auto named = [&](Piece piece) {
    return *tensor_name(stored.layout, stored.attn, parameter, piece);
  };
  Shape shape = logical_shape(parameter.kind, config).value();
  if (is_expert_weight(parameter.kind) && stored.packed) {
    shape[2] /= kBlockSize;
    add_stored(catalog, stored_tensor(named(Piece::scales), DType::U8, shape));
    shape.push_back(kBlockBytes);
    add_stored(catalog, stored_tensor(named(Piece::blocks), DType::U8, shape));
    return;
  }
  if (is_expert_weight(parameter.kind) && (row.order == AxisOrder::in_out) != stored.swapped) {
    std::swap(shape[1], shape[2]);
  }
  const auto same = std::ranges::find(catalog, named(Piece::dense), &StoredTensor::name);
  if (same == catalog.end()) {
    add_stored(catalog, stored_tensor(named(Piece::dense), stored.dtype, shape));
  } else {  // query, key and value in one
    shape[0] += same->shape[0];
    *same = stored_tensor(same->name, stored.dtype, shape);
  }
}

// Every tensor of a checkpoint, sorted by name as a folder gives them.
inline Catalog make_catalog(const Stored& stored, const GptOssConfig& config = kConfig) {
  Catalog catalog;
  for (int kind = 0; kind < kParameterKinds; ++kind) {
    const auto what = static_cast<ParameterKind>(kind);
    for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      const auto number = is_per_layer(what) ? std::optional(layer) : std::nullopt;
      add_parameter(catalog, stored, config, {what, number, published_prefix(what, number)});
      if (!number) break;
    }
  }
  std::ranges::sort(catalog, {}, &StoredTensor::name);
  return catalog;
}

inline StoredTensor& find_tensor(Catalog& catalog, std::string_view name) {
  return *std::ranges::find(catalog, name, &StoredTensor::name);
}
inline const StoredTensor& find_tensor(const Catalog& catalog, std::string_view name) {
  return *std::ranges::find(catalog, name, &StoredTensor::name);
}

inline Catalog without(Catalog catalog, std::string_view ending) {
  std::erase_if(catalog, [&](const StoredTensor& t) { return t.name.ends_with(ending); });
  return catalog;
}

inline Catalog with(Catalog catalog, StoredTensor tensor) {
  catalog.push_back(std::move(tensor));
  std::ranges::sort(catalog, {}, &StoredTensor::name);
  return catalog;
}

inline Catalog reshaped(Catalog catalog, std::string_view name, DType dtype, Shape shape) {
  find_tensor(catalog, name) = stored_tensor(std::string(name), dtype, std::move(shape));
  return catalog;
}

}  // namespace mxferry::internal::testing
