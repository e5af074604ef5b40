#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "flow/tile.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// Deals the tiles of recipes, or of parts of them, to workers, shard by shard. Thread-safe.
class Schedule {
 public:
  // The arguments must outlive the schedule.
  Schedule(const std::vector<Recipe>& recipes, const std::vector<RecipePart>& parts,
           const Catalog& target, std::size_t shard_count, const TileLimits& limits);

  struct Work {
    std::size_t shard = 0;
    std::size_t recipe = 0;  // index
    Tile tile;
  };

  // The next tile for a worker: from the shard that it worked on (`previous`), else from a shard
  // that no worker has begun, else from the one with the most tiles left. nullopt if all tiles are
  // dealt.
  std::optional<Work> next(std::optional<std::size_t> previous);

  // Records that a dealt tile is done. Returns the shards whose last tile it was.
  std::vector<std::size_t> finish(const Work& work);

 private:
  struct ShardState {
    std::vector<const RecipePart*> parts;
    std::size_t part = 0;         // the one being dealt
    std::int64_t tile = 0;        // its next tile
    std::int64_t undealt = 0;     // tiles
    std::int64_t unfinished = 0;  // tiles, including other shards' that write scales here
    bool begun = false;
  };

  Work deal(std::size_t shard);

  const std::vector<Recipe>& recipes_;
  const Catalog& target_;
  TileLimits limits_;
  std::mutex mutex_;
  std::vector<ShardState> shards_;
};

}  // namespace mxferry::internal
