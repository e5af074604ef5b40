#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flow/tile.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// The part of process `rank` of `world`: a contiguous run of the recipes in their order, cut
// between experts or, in a recipe with one expert, where a tile may begin. Together the ranks do
// everything exactly once, and each reads and writes about the same number of bytes. Depends on its
// arguments alone.
std::vector<RecipePart> recipes_of_part(const std::vector<Recipe>& recipes, int rank, int world);

// Bytes that a part of a recipe reads and writes.
std::uint64_t source_bytes(const Recipe& recipe, const RecipePart& part) noexcept;
std::uint64_t target_bytes(const Recipe& recipe, const RecipePart& part) noexcept;

// The shards of the target that a recipe writes to: an `encode` may have blocks in one and scales
// in another.
std::vector<std::size_t> shards_of(const Recipe& recipe, const Catalog& target);

// How much of a shard's data the given parts write.
enum class Coverage { none, some, all };

// Coverage by shard. `parts` has no recipe twice. A shard without data is `none`.
std::vector<Coverage> shard_coverage(const std::vector<Recipe>& recipes,
                                     const std::vector<RecipePart>& parts, const Catalog& target,
                                     std::size_t shard_count);

// The shards that no recipe writes data to: all their tensors are empty.
std::vector<std::size_t> shards_without_data(const std::vector<Recipe>& recipes,
                                             const Catalog& target, std::size_t shard_count);

}  // namespace mxferry::internal
