#pragma once

#include <cstddef>
#include <cstdint>

#include "recipe/recipe.h"

namespace mxferry {

// How large the pieces of a recipe are that one worker handles at a time. They bound memory and
// never change the result.
struct TileLimits {
  // A tile's source, or the packed target of `encode`: holds one expert of both real models.
  std::size_t source_bytes = std::size_t{10} << 20;
  // What is written at once: stays in the cache meanwhile. `encode` reads three times as much.
  std::size_t target_bytes = std::size_t{2} << 20;
  std::int64_t parts = 1;  // cut a recipe with fewer experts into at least about so many tiles:
                           // work for every thread
};

// A worker's piece of a recipe. [begin, end) counts
//   decode, encode  rows (output dimension) of the expert,
//   transpose  rows of the stored source matrix of the expert,
//   copy       bytes,
//   cast       elements.
struct Tile {
  std::int64_t expert = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Cuts one recipe; every byte of the target is in exactly one tile.
class Tiling {
 public:
  Tiling(const Recipe& recipe, const TileLimits& limits) noexcept;

  std::int64_t count() const noexcept { return recipe_experts_ * tiles_per_expert_; }
  Tile tile(std::int64_t index) const noexcept;

 private:
  std::int64_t recipe_experts_;
  std::int64_t extent_;  // of the dimension that is cut
  std::int64_t step_;
  std::int64_t tiles_per_expert_;
};

// Bytes of the target that a tile fills.
std::uint64_t target_bytes(const Recipe& recipe, const Tile& tile) noexcept;

// Buffers that one worker needs for any tile of a recipe.
struct ScratchSizes {
  std::size_t source = 0;
  std::size_t middle = 0;  // `transpose` with a cast; the reference's scales of `encode`
  std::size_t target = 0;

  std::size_t total() const noexcept { return source + middle + target; }
};
ScratchSizes scratch_sizes(const Recipe& recipe, const TileLimits& limits) noexcept;

// The dense part of a tile that is in memory at once: groups of a transposed `decode` or `encode`,
// rows of a straight one, columns of the stored source matrix of a `transpose`.
// `tile_extent` is the tile's end - begin. At least 1.
std::int64_t chunk_extent(const Recipe& recipe, const TileLimits& limits,
                          std::int64_t tile_extent) noexcept;

}  // namespace mxferry
