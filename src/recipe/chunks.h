#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// A conversion whose targets are cut along dimension 0.
struct ChunkedRecipes {
  // The chunks: their shapes and bytes, `shard` the part that each belongs to; part by part, in the
  // order of the tensors. Names are those of the tensors, so each is there once a part.
  Catalog target;
  std::vector<std::int64_t> begins;  // by target: its first index in dimension 0 of the tensor
  std::vector<Recipe> recipes;       // by target
  std::size_t parts = 0;             // that have a chunk, the first of those asked for
};

// Cuts every tensor of the target into at most `parts` (at least 1) as torch.chunk does: all are
// ceil(n / parts) long, but the last may be shorter, and the parts after it have nothing. Scalars,
// empty tensors and those whose rows are not whole bytes go to the first part. Experts are cut
// whole by expert; a recipe with experts fills its target alone, one index of dimension 0 each.
ChunkedRecipes chunk_recipes(const Catalog& target, const std::vector<Recipe>& recipes,
                             std::size_t parts);
// The same with a number of parts for each tensor.
ChunkedRecipes chunk_recipes(const Catalog& target, const std::vector<Recipe>& recipes,
                             const std::function<std::size_t(const StoredTensor&)>& parts_of);

}  // namespace mxferry::internal
