#include "flow/parts.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/flow/any_recipe.h"

namespace mxferry::internal {
namespace {

using testing::any_recipe;

std::vector<Recipe> any_recipes() {
  std::vector<Recipe> recipes;
  const auto count = *rc::gen::inRange(0, 9);
  for (int i = 0; i < count; ++i) {
    recipes.push_back(any_recipe(500));
    if (recipes.back().operation == Operation::copy) {
      recipes.back().columns *= *rc::gen::element(1, 100'000);
    }
  }
  return recipes;
}

RC_GTEST_PROP(ShareOf, AllRanksDoEverythingOnceInOrder, ()) {
  const std::vector<Recipe> recipes = any_recipes();
  const int world = *rc::gen::inRange(1, 12);
  std::vector<std::int64_t> reached(recipes.size());  // within the recipe, in its smallest units
  std::size_t last = 0;
  for (int rank = 0; rank < world; ++rank) {
    for (const RecipePart& part : recipes_of_part(recipes, rank, world)) {
      const RecipePart all = whole(recipes[part.recipe], part.recipe);
      RC_ASSERT(part.recipe >= last);
      last = part.recipe;
      RC_ASSERT(part.experts > 0 && part.begin < part.end);
      // Whole experts, or a part of the only one.
      RC_ASSERT(all.experts == 1 || (part.begin == 0 && part.end == all.end));
      RC_ASSERT(reached[part.recipe] == part.first_expert * all.end + part.begin);
      reached[part.recipe] += part.experts * (part.end - part.begin);
      RC_ASSERT(part.end == all.end || part.end % cut_alignment(recipes[part.recipe]) == 0);
    }
  }
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    const RecipePart all = whole(recipes[i], i);
    RC_ASSERT(reached[i] == all.experts * all.end);
  }
}

RC_GTEST_PROP(ShareOf, BytesOfThePartsAreThoseOfTheWhole, ()) {
  const std::vector<Recipe> recipes = any_recipes();
  const int world = *rc::gen::inRange(1, 12);
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  for (int rank = 0; rank < world; ++rank) {
    for (const RecipePart& part : recipes_of_part(recipes, rank, world)) {
      in += source_bytes(recipes[part.recipe], part);
      out += target_bytes(recipes[part.recipe], part);
    }
  }
  for (const Recipe& recipe : recipes) {
    if (whole(recipe, 0).experts == 0) continue;
    in -= source_bytes(recipe);
    out -= target_bytes(recipe);
  }
  RC_ASSERT(in == 0U);
  RC_ASSERT(out == 0U);
}

// Bytes of a rank's share, read and written.
double cost(const std::vector<Recipe>& recipes, int rank, int world) {
  double bytes = 0;
  for (const RecipePart& part : recipes_of_part(recipes, rank, world)) {
    const Recipe& recipe = recipes[part.recipe];
    bytes += static_cast<double>(source_bytes(recipe, part) + target_bytes(recipe, part));
  }
  return bytes;
}

TEST(ShareOf, OfARealModelIsEven) {
  std::vector<Recipe> recipes;
  for (int layer = 0; layer < 24; ++layer) {
    recipes.push_back({.columns = 4096 * 2880 * 2});
    for (const std::int64_t rows : {5760, 2880}) {
      recipes.push_back({.operation = Operation::decode,
                         .to = DType::BF16,
                         .target_order = AxisOrder::in_out,
                         .experts = 32,
                         .rows = rows,
                         .columns = 2880});
    }
  }
  recipes.push_back({.columns = std::int64_t{201088} * 2880 * 2});
  const double all = cost(recipes, 0, 1);
  for (const int world : {2, 7, 64, 512}) {
    for (int rank = 0; rank < world; ++rank) {
      // An expert of gate_up is 42 MB in all; no share ends more than half of that off its place.
      EXPECT_LE(std::fabs(cost(recipes, rank, world) - all / world), 43e6) << rank << " " << world;
    }
  }
}

RC_GTEST_PROP(ShardShares, TellWhoWritesWhat, ()) {
  const std::vector<Recipe> recipes = any_recipes();
  const int world = *rc::gen::inRange(1, 5);
  const auto shards = *rc::gen::inRange<std::size_t>(1, 5);
  Catalog target(2 * recipes.size());
  std::vector<Recipe> placed = recipes;
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    placed[i].target = 2 * i;
    placed[i].target_scales = 2 * i + 1;
    target[2 * i].shard = *rc::gen::inRange<std::size_t>(0, shards);
    target[2 * i + 1].shard = *rc::gen::inRange<std::size_t>(0, shards);
  }
  // By shard: how many ranks write to it at all.
  std::vector<int> writers(shards);
  std::vector<std::vector<Coverage>> shares;
  for (int rank = 0; rank < world; ++rank) {
    const std::vector<RecipePart> parts = recipes_of_part(placed, rank, world);
    std::vector<bool> writes(shards);
    for (const RecipePart& part : parts) {
      for (const std::size_t shard : shards_of(placed[part.recipe], target)) writes[shard] = true;
    }
    for (std::size_t shard = 0; shard < shards; ++shard) writers[shard] += writes[shard] ? 1 : 0;
    shares.push_back(shard_coverage(placed, parts, target, shards));
    for (std::size_t shard = 0; shard < shards; ++shard) {
      RC_ASSERT((shares.back()[shard] != Coverage::none) == writes[shard]);
    }
  }
  const std::vector<std::size_t> empty = shards_without_data(placed, target, shards);
  for (std::size_t shard = 0; shard < shards; ++shard) {
    for (int rank = 0; rank < world; ++rank) {
      const Coverage share = shares[static_cast<std::size_t>(rank)][shard];
      if (share == Coverage::all) RC_ASSERT(writers[shard] == 1);
      if (share == Coverage::some) RC_ASSERT(writers[shard] > 1);
    }
    RC_ASSERT((writers[shard] == 0) == (std::ranges::count(empty, shard) == 1));
  }
}

}  // namespace
}  // namespace mxferry::internal
