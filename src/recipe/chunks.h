#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// The recipes of a conversion whose targets are cut along dimension 0.
struct ChunkedRecipes {
  // The chunks, with their shapes and bytes; `shard` is the part that each belongs to. Ordered by
  // part, then as the tensors. A chunk has its tensor's name, so a name occurs at most once per
  // part.
  Catalog target;
  std::vector<std::int64_t> begins;  // by target: the chunk's start in the tensor's dimension 0
  std::vector<Recipe> recipes;       // ordered by target
  std::size_t parts = 0;             // parts that have a chunk: the first of those requested
};

// Cuts every tensor of the target into at most `parts` (at least 1) chunks as torch.chunk does: all
// are ceil(n / parts) long, except that the last may be shorter, and later parts have none.
// Scalars, empty tensors and tensors whose rows are not whole bytes go to the first part. A recipe
// with experts is cut between experts; it alone fills its target, one expert per index of dimension
// 0.
ChunkedRecipes chunk_recipes(const Catalog& target, const std::vector<Recipe>& recipes,
                             std::size_t parts);
// The same, with a number of parts per tensor.
ChunkedRecipes chunk_recipes(const Catalog& target, const std::vector<Recipe>& recipes,
                             const std::function<std::size_t(const StoredTensor&)>& parts_of);

}  // namespace mxferry::internal
