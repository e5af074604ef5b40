#include "flow/schedule.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "base/parallel.h"
#include "flow/parts.h"
#include "tests/flow/any_recipe.h"

namespace mxferry::internal {
namespace {

using testing::any_limits;
using testing::any_recipe;

// Recipes, one target each, over some shards.
struct Work {
  std::vector<Recipe> recipes;
  Catalog target;
  std::size_t shards = 1;
  TileLimits limits;

  std::int64_t tiles(std::size_t shard) const {
    std::int64_t count = 0;
    for (const Recipe& recipe : recipes) {
      const bool writes =
          target[recipe.target].shard == shard ||
          (recipe.operation == Operation::encode && target[recipe.target_scales].shard == shard);
      if (writes) count += Tiling(recipe, limits).count();
    }
    return count;
  }
};

Work any_work() {
  Work work;
  work.shards = *rc::gen::inRange<std::size_t>(1, 5);
  work.limits = any_limits();
  const auto count = *rc::gen::inRange<std::size_t>(0, 7);
  for (std::size_t i = 0; i < count; ++i) {
    work.recipes.push_back(any_recipe(300));
    work.recipes.back().target = 2 * i;
    work.recipes.back().target_scales = 2 * i + 1;
    for (int tensor = 0; tensor < 2; ++tensor) {
      work.target.push_back({});
      work.target.back().shard = *rc::gen::inRange<std::size_t>(0, work.shards);
    }
  }
  return work;
}

using Key = std::tuple<std::size_t, std::int64_t, std::int64_t>;

// Deals everything to `threads` workers; how often each tile was dealt and each shard finished.
struct Dealt {
  std::map<Key, int> tiles;
  std::vector<int> finished;
};
Dealt deal_all(const Work& work, int threads) {
  const std::vector<RecipePart> parts = recipes_of_part(work.recipes, 0, 1);
  Schedule schedule(work.recipes, parts, work.target, work.shards, work.limits);
  Dealt dealt;
  dealt.finished.resize(work.shards);
  std::mutex mutex;
  run_workers(threads, {}, [&](int, const std::stop_token&) {
    std::optional<std::size_t> shard;
    while (const auto next = schedule.next(shard)) {
      shard = next->shard;
      {
        const std::lock_guard lock(mutex);
        EXPECT_EQ(work.target[work.recipes[next->recipe].target].shard, *shard);
        ++dealt.tiles[{next->recipe, next->tile.expert, next->tile.begin}];
      }
      for (const std::size_t finished : schedule.finish(*next)) {
        const std::lock_guard lock(mutex);
        ++dealt.finished[finished];
      }
    }
  });
  return dealt;
}

RC_GTEST_PROP(Schedule, DealsEveryTileAndFinishesEveryShardOnce, ()) {
  const Work work = any_work();
  const Dealt dealt = deal_all(work, *rc::gen::inRange(1, 5));
  std::size_t tiles = 0;
  for (std::size_t shard = 0; shard < work.shards; ++shard) {
    RC_ASSERT(dealt.finished[shard] == (work.tiles(shard) > 0 ? 1 : 0));
  }
  for (const Recipe& recipe : work.recipes) {
    tiles += static_cast<std::size_t>(Tiling(recipe, work.limits).count());
  }
  RC_ASSERT(dealt.tiles.size() == tiles);
  for (const auto& [key, times] : dealt.tiles) RC_ASSERT(times == 1);
}

// Shards 0, 1 and 2 with 2, 4 and 3 tiles.
Work three_shards() {
  Work work;
  work.shards = 3;
  for (std::size_t shard = 0; shard < 3; ++shard) {
    constexpr std::int64_t kTileBytes = std::int64_t{1} << 20;
    const std::int64_t tiles[] = {2, 4, 3};
    work.recipes.push_back({.target = shard, .columns = tiles[shard] * kTileBytes});
    work.target.push_back({});
    work.target.back().shard = shard;
  }
  return work;
}

TEST(Schedule, StaysWithAShardWhileItHasWork) {
  const Work work = three_shards();
  const std::vector<RecipePart> parts = recipes_of_part(work.recipes, 0, 1);
  Schedule schedule(work.recipes, parts, work.target, work.shards, work.limits);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(schedule.next(1)->shard, 1U);
  EXPECT_NE(schedule.next(1)->shard, 1U);
}

TEST(Schedule, PrefersAFreshShardThenTheOneWithMostLeft) {
  const Work work = three_shards();
  const std::vector<RecipePart> parts = recipes_of_part(work.recipes, 0, 1);
  Schedule schedule(work.recipes, parts, work.target, work.shards, work.limits);
  EXPECT_EQ(schedule.next({})->shard, 0U);
  EXPECT_EQ(schedule.next({})->shard, 1U);
  EXPECT_EQ(schedule.next({})->shard, 2U);
  EXPECT_EQ(schedule.next({})->shard, 1U);  // 1, 3 and 2 are left
  EXPECT_EQ(schedule.next(0)->shard, 0U);
  EXPECT_NE(schedule.next(0)->shard, 0U);  // 0, 2 and 2
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(schedule.next({}));
  EXPECT_FALSE(schedule.next({}));
  EXPECT_FALSE(schedule.next(1));
}

TEST(Schedule, IsFinishedWhenTheLastDealtTileIsDone) {
  const Work work = three_shards();
  const std::vector<RecipePart> parts = recipes_of_part(work.recipes, 0, 1);
  Schedule schedule(work.recipes, parts, work.target, work.shards, work.limits);
  std::vector<Schedule::Work> of_shard_0;
  while (const auto dealt = schedule.next({})) {
    if (dealt->shard == 0) of_shard_0.push_back(*dealt);
  }
  ASSERT_EQ(of_shard_0.size(), 2U);
  EXPECT_EQ(schedule.finish(of_shard_0[0]), std::vector<std::size_t>{});
  EXPECT_EQ(schedule.finish(of_shard_0[1]), std::vector<std::size_t>{0});
}

TEST(Schedule, FinishesBothShardsThatAnEncodeWritesTo) {
  Work work;
  work.shards = 2;
  work.recipes.push_back({.operation = Operation::encode,
                          .target = 0,
                          .target_scales = 1,
                          .from = DType::BF16,
                          .rows = 32,
                          .columns = 32});
  work.target.resize(2);
  work.target[1].shard = 1;
  const std::vector<RecipePart> parts = recipes_of_part(work.recipes, 0, 1);
  Schedule schedule(work.recipes, parts, work.target, work.shards, work.limits);
  const auto only = schedule.next({});
  ASSERT_TRUE(only);
  EXPECT_EQ(schedule.finish(*only), (std::vector<std::size_t>{0, 1}));
  EXPECT_FALSE(schedule.next({}));
}

}  // namespace
}  // namespace mxferry::internal
