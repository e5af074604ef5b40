#include "flow/schedule.h"

#include <algorithm>

#include "flow/parts.h"

namespace mxferry::internal {

Schedule::Schedule(const std::vector<Recipe>& recipes, const std::vector<RecipePart>& parts,
                   const Catalog& target, std::size_t shard_count, const TileLimits& limits)
    : recipes_(recipes), target_(target), limits_(limits), shards_(shard_count) {
  for (const RecipePart& part : parts) {
    const Recipe& recipe = recipes[part.recipe];
    const std::int64_t count = Tiling(recipe, part, limits_).count();
    if (count == 0) continue;
    ShardState& shard = shards_[target[recipe.target].shard];
    shard.parts.push_back(&part);
    shard.undealt += count;
    for (const std::size_t written : shards_of(recipe, target)) {
      shards_[written].unfinished += count;
    }
  }
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
  const RecipePart& part = *shard.parts[shard.part];
  const Tiling tiling(recipes_[part.recipe], part, limits_);
  const Tile tile = tiling.tile(shard.tile);
  if (++shard.tile == tiling.count()) {
    shard.tile = 0;
    ++shard.part;
  }
  return {index, part.recipe, tile};
}

std::vector<std::size_t> Schedule::finish(const Work& work) {
  const std::vector<std::size_t> written = shards_of(recipes_[work.recipe], target_);
  std::vector<std::size_t> finished;
  const std::lock_guard lock(mutex_);
  for (const std::size_t shard : written) {
    if (--shards_[shard].unfinished == 0) finished.push_back(shard);
  }
  return finished;
}

}  // namespace mxferry::internal
