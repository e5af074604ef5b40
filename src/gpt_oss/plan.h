#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gpt_oss/probe.h"
#include "mxferry/layout.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// What a conversion is asked for.
struct Target {
  Layout layout = Layout::hf;
  std::string attn = "flex";
  // nullopt: bf16 where experts are dequantized, else unchanged.
  std::optional<Codec> dtype = {};
  // Of everything but the experts' weights; nullopt: as dtype says.
  std::optional<DType> dense_dtype = {};
  // By the target's name; empty excludes nothing.
  std::function<bool(std::string_view name)> excluded = {};
  // Where weights are quantized: the tensor with the scales of the same parameter in a reference,
  // an index into its catalog. Empty where there is no reference.
  std::function<std::size_t(const SourceParameter& parameter)> reference_scales = {};
};

// The recipes of one conversion and the tensors that they fill.
struct Plan {
  Catalog target;               // no shard, no offset yet; in natural order of the names
  std::vector<Recipe> recipes;  // by target
  bool packed = false;          // experts are MXFP4 in the target
  std::optional<DType>
      dtype;  // all known parameters' dtype where the target has one, for config.json
  std::vector<std::size_t>
      passed_through;  // source tensors that keep their name because none of the tables knows it
  std::size_t excluded = 0;
};

// Joins the description's parameters with the target's layout. Pure. The description must have a
// layout and no fatal problem. Throws Error: invalid_argument (nemo has no MXFP4; only one of
// blocks and scales is excluded), wrong_shape (an input dimension of weights to be quantized is no
// multiple of 32), name_collision, missing_partner and wrong_dtype (a fused tensor whose parts are
// not all there or differ), and what the target's functions throw.
Plan make_plan(const Catalog& source, const Description& description, const Target& target);

// Throws Error(invalid_argument) for an attention backend that is not known, or that the layout
// does not tell apart from others.
void check_attn(Layout layout, const std::string& attn);

// Deals the tensors in the order given into shards of at most `limit` bytes of data, each as full
// as it can be; a larger tensor has a shard of its own. Sets their `shard` and returns the number
// of shards, at least 1.
std::size_t assign_shards(const std::vector<StoredTensor*>& tensors, std::uint64_t limit);

}  // namespace mxferry::internal
