#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "flow/tile.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry {

// Deals tiles to workers, shard by shard. Thread-safe.
class Schedule {
 public:
  // The arguments must outlive the schedule.
  Schedule(const std::vector<Recipe>& recipes, const Catalog& target, std::size_t shard_count,
           const TileLimits& limits);

  struct Work {
    std::size_t shard = 0;
    const Recipe* recipe = nullptr;
    Tile tile;
  };

  // The next tile for a worker: of the shard that it worked on (`previous`), else of a shard that
  // nobody has begun, else of the one with the most tiles left. nullopt when all tiles are dealt.
  std::optional<Work> next(std::optional<std::size_t> previous);

  // Tells that a dealt tile is done. Returns the shards that it was the last tile of.
  std::vector<std::size_t> finish(const Work& work);

  // Shards that no tile writes to: all their tensors are empty.
  const std::vector<std::size_t>& empty_shards() const noexcept { return empty_; }

 private:
  struct ShardState {
    std::vector<const Recipe*> recipes;
    std::size_t recipe = 0;       // the one being dealt
    std::int64_t tile = 0;        // its next tile
    std::int64_t undealt = 0;     // tiles
    std::int64_t unfinished = 0;  // tiles, those of other shards that write scales to this too
    bool begun = false;
  };

  // The shards that a recipe writes to: an `encode` may have blocks in one and scales in another.
  std::vector<std::size_t> shards_of(const Recipe& recipe) const;
  Work deal(std::size_t shard);

  const Catalog& target_;
  TileLimits limits_;
  std::mutex mutex_;
  std::vector<ShardState> shards_;
  std::vector<std::size_t> empty_;
};

}  // namespace mxferry
