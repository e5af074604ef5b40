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

// The requested result of a conversion.
struct Target {
  Layout layout = Layout::hf;
  std::string attn = "flex";
  // nullopt: bf16 if experts are dequantized, else unchanged.
  std::optional<Codec> dtype = {};
  // Of everything but the experts' weights; nullopt: as `dtype` says.
  std::optional<DType> dense_dtype = {};
  // Takes a tensor's name in the target; empty excludes nothing.
  std::function<bool(std::string_view name)> excluded = {};
  // Returns the tensor with the scales of a parameter that is to be quantized, as an index into the
  // catalog of a reference. Empty if there is no reference.
  std::function<std::size_t(const SourceParameter& parameter)> reference_scales = {};
  // Gives a tied head a tensor even if the layout's programs do without: to fill a model.
  bool adds_tied_head = false;
};

// The recipes of one conversion and the tensors that they fill.
struct Plan {
  Catalog target;               // shard and offset not set; in natural order of the names
  std::vector<Recipe> recipes;  // in the order of their targets
  bool packed = false;          // experts are MXFP4 in the target
  bool has_head = false;        // a tensor, or tied to the embedding
  bool adds_head = false;       // a tensor, although the source's is tied
  // For config.json: Target::dtype if it is dense, BF16 if experts are dequantized without one,
  // else Target::dense_dtype.
  std::optional<DType> dtype;
  // Source tensors that keep their name because a layout's table does not cover them.
  std::vector<std::size_t> passed_through;
  std::size_t excluded = 0;
};

// Joins the description's parameters with the target's layout. Pure. The description must have a
// layout and no fatal problem. Throws Error: invalid_argument (nemo has no MXFP4; only one of the
// blocks and scales of quantized weights is excluded), wrong_shape (an input dimension of weights
// to be quantized is not a multiple of 32), name_collision, missing_partner and wrong_dtype (parts
// of a fused tensor are missing or differ), size_overflow, and what the target's functions throw.
Plan make_plan(const Catalog& source, const Description& description, const Target& target);

// Throws Error(invalid_argument) for an unknown attention backend, and for "te" with any layout but
// nemo.
void check_attn(Layout layout, const std::string& attn);

// Distributes the tensors, in the given order, over shards of at most `limit` bytes of data, each
// as full as possible; a larger tensor has a shard of its own. Sets their `shard` and returns the
// number of shards, at least 1.
std::size_t assign_shards(const std::vector<StoredTensor*>& tensors, std::uint64_t limit);

}  // namespace mxferry::internal
