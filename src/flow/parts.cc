#include "flow/parts.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "flow/sizes.h"

namespace mxferry::internal {
namespace {

std::uint64_t cost(const Recipe& recipe) noexcept {
  return source_bytes(recipe) + target_bytes(recipe);
}

// A recipe can be cut at 0 .. cuts(), both ends included: between experts, or at multiples of its
// alignment if it has only one.
std::int64_t cuts(const Recipe& recipe, const RecipePart& all) noexcept {
  return all.experts > 1 ? all.experts : divide_up(all.end, cut_alignment(recipe));
}

RecipePart between(const Recipe& recipe, RecipePart all, std::int64_t first, std::int64_t last) {
  if (all.experts > 1) {
    all.first_expert = first;
    all.experts = last - first;
    return all;
  }
  const std::int64_t alignment = cut_alignment(recipe);
  all.begin = first * alignment;
  all.end = std::min(all.end, last * alignment);
  return all;
}

// The boundary between rank - 1 and rank of `world`, in bytes, of `all` bytes.
std::uint64_t boundary(std::uint64_t all, int rank, int world) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(Wide{all} * static_cast<unsigned>(rank) /
                                    static_cast<unsigned>(world));
}

// The cut of a recipe of `bytes` that is nearest to a boundary `offset` bytes after its start.
std::int64_t nearest_cut(std::int64_t count, std::uint64_t offset, std::uint64_t bytes) noexcept {
  if (offset >= bytes) return count;
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::int64_t>((Wide{offset} * static_cast<std::uint64_t>(count) + bytes / 2) /
                                   bytes);
}

// A part's share of `bytes`, which are spread evenly over the recipe.
std::uint64_t portion(std::uint64_t bytes, const Recipe& recipe, const RecipePart& part) noexcept {
  const RecipePart all = whole(recipe, part.recipe);
  const std::int64_t units = all.experts * all.end;
  if (units == 0) return 0;
  return bytes / static_cast<std::uint64_t>(units) *
         static_cast<std::uint64_t>(part.experts * (part.end - part.begin));
}

bool is_whole(const Recipe& recipe, const RecipePart& part) noexcept {
  const RecipePart all = whole(recipe, part.recipe);
  return part.experts == all.experts && part.end - part.begin == all.end;
}

}  // namespace

std::vector<RecipePart> recipes_of_part(const std::vector<Recipe>& recipes, int rank, int world) {
  std::uint64_t all_bytes = 0;
  for (const Recipe& recipe : recipes) all_bytes += cost(recipe);
  const std::uint64_t begin = boundary(all_bytes, rank, world);
  const std::uint64_t end = boundary(all_bytes, rank + 1, world);
  std::vector<RecipePart> part;
  std::uint64_t before = 0;
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    const std::uint64_t bytes = cost(recipes[i]);
    const RecipePart all = whole(recipes[i], i);
    const std::int64_t count = cuts(recipes[i], all);
    const auto cut_at = [&](std::uint64_t place) {
      return place <= before ? 0 : nearest_cut(count, place - before, bytes);
    };
    const std::int64_t first = cut_at(begin);
    const std::int64_t last = cut_at(end);
    if (first < last) part.push_back(between(recipes[i], all, first, last));
    before += bytes;
  }
  return part;
}

std::uint64_t source_bytes(const Recipe& recipe, const RecipePart& part) noexcept {
  return portion(source_bytes(recipe), recipe, part);
}
std::uint64_t target_bytes(const Recipe& recipe, const RecipePart& part) noexcept {
  return portion(target_bytes(recipe), recipe, part);
}

std::vector<std::size_t> shards_of(const Recipe& recipe, const Catalog& target) {
  std::vector<std::size_t> shards;
  for (const std::size_t tensor : targets_of(recipe, target)) {
    const std::size_t shard = target[tensor].shard;
    if (std::ranges::find(shards, shard) == shards.end()) shards.push_back(shard);
  }
  return shards;
}

std::vector<Coverage> shard_coverage(const std::vector<Recipe>& recipes,
                                     const std::vector<RecipePart>& parts, const Catalog& target,
                                     std::size_t shard_count) {
  std::vector<Coverage> of_recipe(recipes.size(), Coverage::none);
  for (const RecipePart& part : parts) {
    of_recipe[part.recipe] = is_whole(recipes[part.recipe], part) ? Coverage::all : Coverage::some;
  }
  std::vector<std::optional<Coverage>> coverage(shard_count);
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    if (whole(recipes[i], i).experts == 0) continue;
    for (const std::size_t shard : shards_of(recipes[i], target)) {
      const bool agrees = coverage[shard].value_or(of_recipe[i]) == of_recipe[i];
      coverage[shard] = agrees ? of_recipe[i] : Coverage::some;
    }
  }
  std::vector<Coverage> result;
  result.reserve(shard_count);
  for (const std::optional<Coverage>& shard : coverage) {
    result.push_back(shard.value_or(Coverage::none));
  }
  return result;
}

std::vector<std::size_t> shards_without_data(const std::vector<Recipe>& recipes,
                                             const Catalog& target, std::size_t shard_count) {
  const std::vector<RecipePart> all = recipes_of_part(recipes, 0, 1);
  const std::vector<Coverage> coverage = shard_coverage(recipes, all, target, shard_count);
  std::vector<std::size_t> empty;
  for (std::size_t shard = 0; shard < shard_count; ++shard) {
    if (coverage[shard] == Coverage::none) empty.push_back(shard);
  }
  return empty;
}

}  // namespace mxferry::internal
