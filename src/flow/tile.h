#pragma once

#include <cstddef>
#include <cstdint>

#include "recipe/recipe.h"

namespace mxferry::internal {

// Limits on the tiles that one worker handles at a time. They bound memory and never change the
// result.
struct TileLimits {
  // For a tile's source, or the packed target of `encode`: fits one expert of either published
  // model.
  std::size_t source_bytes = std::size_t{10} << 20;
  // For the bytes written at once, which stay in the cache meanwhile. `encode` reads three times as
  // many at once.
  std::size_t target_bytes = std::size_t{2} << 20;
  // A recipe with fewer experts is cut into at least about this many tiles, so that every thread
  // has work.
  std::int64_t parts = 1;
};

// The unit of a worker's work on a recipe. [begin, end) counts
//   decode, encode  rows (output dimension) of the expert,
//   transpose       rows of the stored source matrix of the expert,
//   copy            bytes,
//   cast            elements.
struct Tile {
  std::int64_t expert = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// The part of a recipe to do: some of its experts, and of each the same range [begin, end), which
// counts as in Tile.
struct RecipePart {
  std::size_t recipe = 0;  // index into the plan's recipes
  std::int64_t first_expert = 0;
  std::int64_t experts = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Cuts a recipe, or a part of it, into tiles; every byte of the target is in exactly one.
class Tiling {
 public:
  Tiling(const Recipe& recipe, const TileLimits& limits) noexcept;
  Tiling(const Recipe& recipe, const RecipePart& part, const TileLimits& limits) noexcept;

  std::int64_t count() const noexcept { return part_.experts * tiles_per_expert_; }
  Tile tile(std::int64_t index) const noexcept;

 private:
  RecipePart part_;
  std::int64_t step_;
  std::int64_t tiles_per_expert_;
};

// All of a recipe.
RecipePart whole(const Recipe& recipe, std::size_t index) noexcept;

// Within an expert, a recipe may be cut at multiples of this.
std::int64_t cut_alignment(const Recipe& recipe) noexcept;

// Bytes of the target that a tile fills.
std::uint64_t target_bytes(const Recipe& recipe, const Tile& tile) noexcept;

// Sizes of the buffers that one worker needs for any tile of a recipe, or of a part of it.
struct ScratchSizes {
  std::size_t source = 0;
  std::size_t middle = 0;  // `transpose` with a cast; the reference's scales of `encode`
  std::size_t target = 0;

  std::size_t total() const noexcept { return source + middle + target; }
};
ScratchSizes scratch_sizes(const Recipe& recipe, const RecipePart& part,
                           const TileLimits& limits) noexcept;
ScratchSizes scratch_sizes(const Recipe& recipe, const TileLimits& limits) noexcept;

// How much of a tile's dense side is in memory at once: groups of a transposed `decode` or
// `encode`, rows of a straight one, columns of the stored source matrix of a `transpose`.
// `tile_extent` is the tile's end - begin. At least 1.
std::int64_t chunk_extent(const Recipe& recipe, const TileLimits& limits,
                          std::int64_t tile_extent) noexcept;

}  // namespace mxferry::internal
