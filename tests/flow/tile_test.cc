#include "flow/tile.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/flow/any_recipe.h"

namespace mxferry::internal {
namespace {

using testing::any_limits;
using testing::any_recipe;

// Large enough for several megabytes of copy and cast, which the limits do not cut.
Recipe any_large_recipe() {
  Recipe recipe = any_recipe(500);
  if (recipe.operation == Operation::copy || recipe.operation == Operation::cast) {
    recipe.columns *= *rc::gen::inRange<std::int64_t>(1, 20'000);
  }
  return recipe;
}

RC_GTEST_PROP(Tiling, CoversEveryByteOnce, ()) {
  const Recipe recipe = any_large_recipe();
  const TileLimits limits = any_limits();
  const Tiling tiling(recipe, limits);
  std::uint64_t bytes = 0;
  Tile last{.expert = 0, .begin = 0, .end = 0};
  for (std::int64_t i = 0; i < tiling.count(); ++i) {
    const Tile tile = tiling.tile(i);
    RC_ASSERT(tile.begin < tile.end);
    // Each begins where the one before it ended, or with the next expert.
    const bool follows = tile.expert == last.expert
                             ? tile.begin == last.end
                             : tile.expert == last.expert + 1 && tile.begin == 0;
    RC_ASSERT(follows);
    bytes += target_bytes(recipe, tile);
    last = tile;
  }
  RC_ASSERT(bytes == target_bytes(recipe));
}

RC_GTEST_PROP(Tiling, KeepsToTheLimitsWhereTheyHoldThirtyTwoRows, ()) {
  Recipe recipe = any_recipe(500);
  recipe.operation = *rc::gen::element(Operation::transpose, Operation::decode, Operation::encode);
  recipe.columns = kBlockSize * *rc::gen::inRange<std::int64_t>(1, 7);
  const TileLimits limits{.source_bytes = *rc::gen::inRange<std::size_t>(64'000, 200'000),
                          .target_bytes = *rc::gen::inRange<std::size_t>(4'096, 20'000)};
  const ScratchSizes sizes = scratch_sizes(recipe, limits);
  // An encode holds its target whole, and reads its source in pieces.
  const bool packs = recipe.operation == Operation::encode;
  RC_ASSERT((packs ? sizes.target : sizes.source) <= limits.source_bytes);
  // At least one whole row is in memory at once where rows lie whole.
  const bool straight = recipe.operation != Operation::transpose &&
                        (packs ? recipe.source_order : recipe.target_order) == AxisOrder::out_in;
  RC_ASSERT(straight || (packs ? sizes.source / 3 : sizes.target) <= limits.target_bytes);
}

// What transcode() reads at once, and makes at once, for one tile.
ScratchSizes needed(const Recipe& recipe, const TileLimits& limits, const Tile& tile) {
  const auto size = [](std::int64_t bytes) { return static_cast<std::size_t>(bytes); };
  const std::int64_t extent = tile.end - tile.begin;
  const std::int64_t from = bits(recipe.from) / 8;
  const std::int64_t to = bits(recipe.to) / 8;
  switch (recipe.operation) {
    case Operation::copy:
      return {.source = size(extent)};
    case Operation::cast:
      return {.source = size(extent * from), .target = size(extent * to)};
    case Operation::transpose: {
      const std::int64_t width =
          recipe.target_order == AxisOrder::out_in ? recipe.rows : recipe.columns;
      const std::int64_t chunk = std::min(width, chunk_extent(recipe, limits, extent));
      return {.source = size(extent * width * from),
              .middle = recipe.from == recipe.to ? 0 : size(extent * width * to),
              .target = size(chunk * extent * to)};
    }
    case Operation::decode: {
      const std::int64_t groups = recipe.columns / kBlockSize;
      const std::int64_t chunk = chunk_extent(recipe, limits, extent);
      const std::int64_t elements = recipe.target_order == AxisOrder::in_out
                                        ? std::min(chunk, groups) * kBlockSize * extent
                                        : std::min(chunk, extent) * recipe.columns;
      return {.source = size(extent * groups * (kBlockBytes + 1)), .target = size(elements * to)};
    }
    case Operation::encode: {
      const std::int64_t groups = recipe.columns / kBlockSize;
      const std::int64_t chunk = chunk_extent(recipe, limits, extent);
      const std::int64_t elements = recipe.source_order == AxisOrder::in_out
                                        ? std::min(chunk, groups) * kBlockSize * extent
                                        : std::min(chunk, extent) * recipe.columns;
      return {.source = size(elements * from),
              .middle = recipe.reference_scales ? size(extent * groups) : 0,
              .target = size(extent * groups * (kBlockBytes + 1))};
    }
  }
  return {};
}

RC_GTEST_PROP(ScratchSizes, HoldEveryTile, ()) {
  const Recipe recipe = any_recipe(500);
  const TileLimits limits = any_limits();
  const ScratchSizes sizes = scratch_sizes(recipe, limits);
  const Tiling tiling(recipe, limits);
  for (std::int64_t i = 0; i < tiling.count(); ++i) {
    const ScratchSizes need = needed(recipe, limits, tiling.tile(i));
    RC_ASSERT(need.source <= sizes.source);
    RC_ASSERT(need.middle <= sizes.middle);
    RC_ASSERT(need.target <= sizes.target);
  }
}

// 96 rows in tiles of 64 and 32: the chunks of the second are longer.
TEST(ScratchSizes, HoldALastTileWithLongerChunks) {
  const Recipe recipe{.operation = Operation::decode,
                      .to = DType::BF16,
                      .target_order = AxisOrder::in_out,
                      .rows = 96,
                      .columns = 128};
  const TileLimits limits{.source_bytes = 64 * 4 * 17, .target_bytes = 8'000};
  const Tiling tiling(recipe, limits);
  ASSERT_EQ(tiling.count(), 2);
  ASSERT_EQ(tiling.tile(1).end - tiling.tile(1).begin, 32);
  EXPECT_GE(scratch_sizes(recipe, limits).target,
            static_cast<std::size_t>(chunk_extent(recipe, limits, 32)) * 32 * 32 * 2);
}

TEST(Tiling, CutsAnExpertOfBothRealModelsIntoNothingSmaller) {
  const Recipe gate_up{.operation = Operation::decode,
                       .to = DType::BF16,
                       .target_order = AxisOrder::in_out,
                       .experts = 32,
                       .rows = 5760,
                       .columns = 2880};
  EXPECT_EQ(Tiling(gate_up, {}).count(), 32);
  EXPECT_GE(Tiling(gate_up, {.parts = 64}).count(), 64);
}

TEST(Tiling, OfNothingIsEmpty) {
  for (const Operation operation : {Operation::copy, Operation::cast, Operation::transpose,
                                    Operation::decode, Operation::encode}) {
    for (const auto& [experts, rows, columns] :
         {std::tuple(0, 3, 32), std::tuple(2, 0, 32), std::tuple(2, 3, 0)}) {
      const Recipe recipe{.operation = operation,
                          .from = DType::BF16,
                          .to = DType::F32,
                          .experts = experts,
                          .rows = rows,
                          .columns = columns};
      EXPECT_EQ(Tiling(recipe, {}).count(), 0);
      EXPECT_EQ(scratch_sizes(recipe, {}).total(), 0U);
    }
  }
}

}  // namespace
}  // namespace mxferry::internal
