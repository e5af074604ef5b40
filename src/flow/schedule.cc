#include "flow/schedule.h"

#include <algorithm>

namespace mxferry {

Schedule::Schedule(const std::vector<Recipe>& recipes, const Catalog& target,
                   std::size_t shard_count, const TileLimits& limits)
    : target_(target), limits_(limits), shards_(shard_count) {
  for (const Recipe& recipe : recipes) {
    const std::int64_t count = Tiling(recipe, limits_).count();
    if (count == 0) continue;
    ShardState& shard = shards_[target[recipe.target].shard];
    shard.recipes.push_back(&recipe);
    shard.undealt += count;
    for (const std::size_t written : shards_of(recipe)) shards_[written].unfinished += count;
  }
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    if (shards_[i].unfinished == 0) empty_.push_back(i);
  }
}

std::vector<std::size_t> Schedule::shards_of(const Recipe& recipe) const {
  const std::size_t first = target_[recipe.target].shard;
  if (recipe.operation != Operation::encode) return {first};
  const std::size_t second = target_[recipe.target_scales].shard;
  return first == second ? std::vector{first} : std::vector{first, second};
}

std::optional<Schedule::Work> Schedule::next(std::optional<std::size_t> previous) {
  const std::lock_guard lock(mutex_);
  if (previous && shards_[*previous].undealt > 0) return deal(*previous);
  const auto fresh =
      std::ranges::find_if(shards_, [](const ShardState& s) { return !s.begun && s.undealt > 0; });
  const auto chosen =
      fresh != shards_.end() ? fresh : std::ranges::max_element(shards_, {}, &ShardState::undealt);
  if (chosen == shards_.end() || chosen->undealt == 0) return std::nullopt;
  return deal(static_cast<std::size_t>(chosen - shards_.begin()));
}

Schedule::Work Schedule::deal(std::size_t index) {
  ShardState& shard = shards_[index];
  shard.begun = true;
  --shard.undealt;
  const Recipe* recipe = shard.recipes[shard.recipe];
  const Tiling tiling(*recipe, limits_);
  const Tile tile = tiling.tile(shard.tile);
  if (++shard.tile == tiling.count()) {
    shard.tile = 0;
    ++shard.recipe;
  }
  return {index, recipe, tile};
}

std::vector<std::size_t> Schedule::finish(const Work& work) {
  const std::lock_guard lock(mutex_);
  std::vector<std::size_t> finished;
  for (const std::size_t shard : shards_of(*work.recipe)) {
    if (--shards_[shard].unfinished == 0) finished.push_back(shard);
  }
  return finished;
}

}  // namespace mxferry
