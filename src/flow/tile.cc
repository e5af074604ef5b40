#include "flow/tile.h"

#include <algorithm>

#include "flow/sizes.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

// Kernels work on 32 rows at a time.
constexpr std::int64_t kRowAlignment = 32;
constexpr std::int64_t kCopyBytes = std::int64_t{1} << 20;

// The stored source matrix of a transpose.
std::int64_t stored_rows(const Recipe& recipe) noexcept {
  return recipe.target_order == AxisOrder::out_in ? recipe.columns : recipe.rows;
}
std::int64_t stored_columns(const Recipe& recipe) noexcept {
  return recipe.target_order == AxisOrder::out_in ? recipe.rows : recipe.columns;
}

bool packs(const Recipe& recipe) noexcept {
  return recipe.operation == Operation::encode;
}
bool is_codec(const Recipe& recipe) noexcept {
  return recipe.operation == Operation::decode || packs(recipe);
}

// Whether the dense side of a `decode` or an `encode` is transposed, and its bytes per element.
bool is_transposed(const Recipe& recipe) noexcept {
  return (packs(recipe) ? recipe.source_order : recipe.target_order) == AxisOrder::in_out;
}
std::int64_t dense_element_bytes(const Recipe& recipe) noexcept {
  return element_size(packs(recipe) ? recipe.from : recipe.to);
}

// Bytes that a tile holds whole, of the packed side or of a transpose's source, per unit of the cut
// dimension.
std::int64_t whole_unit(const Recipe& recipe) noexcept {
  switch (recipe.operation) {
    case Operation::decode:
    case Operation::encode:
      return recipe.columns / kBlockSize * (kBlockBytes + 1);
    case Operation::transpose:
      return stored_columns(recipe) * element_size(recipe.from);
    default:
      return 1;
  }
}

// Bytes of the smallest chunk per unit of the cut dimension.
std::int64_t chunk_unit(const Recipe& recipe) noexcept {
  if (is_codec(recipe) && is_transposed(recipe)) return kBlockSize * dense_element_bytes(recipe);
  return dense_element_bytes(recipe);
}

std::int64_t tile_step(const Recipe& recipe, const RecipePart& part,
                       const TileLimits& limits) noexcept {
  if (recipe.operation == Operation::copy || recipe.operation == Operation::cast) {
    return cut_alignment(recipe);
  }
  const std::int64_t extent = part.end - part.begin;
  std::int64_t step = static_cast<std::int64_t>(limits.source_bytes) /
                      std::max<std::int64_t>(1, whole_unit(recipe));
  step = std::min(step, static_cast<std::int64_t>(limits.target_bytes) / chunk_unit(recipe));
  const std::int64_t parts_per_expert =
      divide_up(limits.parts, std::max<std::int64_t>(1, part.experts));
  step = std::min(step, divide_up(extent, parts_per_expert));
  if (step >= extent) return extent;
  return std::max(kRowAlignment, step / kRowAlignment * kRowAlignment);
}

}  // namespace

RecipePart whole(const Recipe& recipe, std::size_t index) noexcept {
  const std::int64_t extent = is_codec(recipe)                           ? recipe.rows
                              : recipe.operation == Operation::transpose ? stored_rows(recipe)
                                                                         : recipe.columns;
  const bool nothing = recipe.experts == 0 || recipe.rows == 0 || recipe.columns == 0;
  return {index, 0, nothing ? 0 : recipe.experts, 0, nothing ? 0 : extent};
}

std::int64_t cut_alignment(const Recipe& recipe) noexcept {
  switch (recipe.operation) {
    case Operation::copy:
      return kCopyBytes;
    case Operation::cast:
      return kCopyBytes / std::max(element_size(recipe.from), element_size(recipe.to));
    default:
      return kRowAlignment;
  }
}

Tiling::Tiling(const Recipe& recipe, const TileLimits& limits) noexcept
    : Tiling(recipe, whole(recipe, 0), limits) {}

Tiling::Tiling(const Recipe& recipe, const RecipePart& part, const TileLimits& limits) noexcept
    : part_(part) {
  const bool nothing = part.experts == 0 || part.begin == part.end;
  step_ = nothing ? 1 : tile_step(recipe, part, limits);
  tiles_per_expert_ = nothing ? 0 : divide_up(part.end - part.begin, step_);
}

Tile Tiling::tile(std::int64_t index) const noexcept {
  const std::int64_t begin = part_.begin + index % tiles_per_expert_ * step_;
  return {part_.first_expert + index / tiles_per_expert_, begin,
          std::min(part_.end, begin + step_)};
}

std::uint64_t target_bytes(const Recipe& recipe, const Tile& tile) noexcept {
  const std::int64_t extent = tile.end - tile.begin;
  switch (recipe.operation) {
    case Operation::copy:
      return static_cast<std::uint64_t>(extent);
    case Operation::cast:
      return static_cast<std::uint64_t>(extent * element_size(recipe.to));
    case Operation::transpose:
      return static_cast<std::uint64_t>(extent * stored_columns(recipe) * element_size(recipe.to));
    case Operation::decode:
      return static_cast<std::uint64_t>(extent * recipe.columns * element_size(recipe.to));
    case Operation::encode:
      return static_cast<std::uint64_t>(extent * whole_unit(recipe));
  }
  return 0;
}

std::int64_t chunk_extent(const Recipe& recipe, const TileLimits& limits,
                          std::int64_t tile_extent) noexcept {
  // An encode writes the groups of a chunk as one run per row, and short runs cost it more than a
  // chunk that does not fit into the L2 cache.
  constexpr std::int64_t kEncodeFactor = 3;
  const std::int64_t most =
      static_cast<std::int64_t>(limits.target_bytes) * (packs(recipe) ? kEncodeFactor : 1);
  const std::int64_t element = dense_element_bytes(recipe);
  if (recipe.operation == Operation::transpose) {
    return std::clamp<std::int64_t>(most / (tile_extent * element), 1, stored_columns(recipe));
  }
  if (!is_transposed(recipe)) {
    return std::clamp<std::int64_t>(most / (recipe.columns * element), 1, tile_extent);
  }
  const std::int64_t groups = most / (tile_extent * kBlockSize * element);
  // The encoder reads four groups of a transposed matrix at a time.
  constexpr std::int64_t kGroupsTogether = 4;
  const bool rounds = packs(recipe) && groups >= kGroupsTogether;
  return std::clamp<std::int64_t>(rounds ? groups / kGroupsTogether * kGroupsTogether : groups, 1,
                                  std::max<std::int64_t>(1, recipe.columns / kBlockSize));
}

namespace {

// Dense elements in one chunk.
std::int64_t chunk_elements(const Recipe& recipe, const TileLimits& limits,
                            std::int64_t tile_extent) noexcept {
  const std::int64_t chunk = chunk_extent(recipe, limits, tile_extent);
  if (recipe.operation == Operation::transpose) return chunk * tile_extent;
  return is_transposed(recipe) ? chunk * kBlockSize * tile_extent : chunk * recipe.columns;
}

}  // namespace

ScratchSizes scratch_sizes(const Recipe& recipe, const TileLimits& limits) noexcept {
  return scratch_sizes(recipe, whole(recipe, 0), limits);
}

ScratchSizes scratch_sizes(const Recipe& recipe, const RecipePart& part,
                           const TileLimits& limits) noexcept {
  const Tiling tiling(recipe, part, limits);
  if (tiling.count() == 0) return {};
  const Tile first = tiling.tile(0);
  const Tile last = tiling.tile(tiling.count() - 1);
  const std::int64_t extent = first.end - first.begin;
  // A shorter last tile has longer chunks, which may take more.
  const auto largest_chunk = [&] {
    return std::max(chunk_elements(recipe, limits, extent),
                    chunk_elements(recipe, limits, last.end - last.begin));
  };
  const std::int64_t to = element_size(recipe.to);
  ScratchSizes sizes;
  switch (recipe.operation) {
    case Operation::copy:
      sizes.source = static_cast<std::size_t>(extent);
      break;
    case Operation::cast:
      sizes.source = static_cast<std::size_t>(extent * element_size(recipe.from));
      sizes.target = static_cast<std::size_t>(extent * to);
      break;
    case Operation::transpose:
      sizes.source = static_cast<std::size_t>(extent * whole_unit(recipe));
      if (recipe.from != recipe.to)
        sizes.middle = static_cast<std::size_t>(extent * stored_columns(recipe) * to);
      sizes.target = static_cast<std::size_t>(largest_chunk() * to);
      break;
    case Operation::decode:
      sizes.source = static_cast<std::size_t>(extent * whole_unit(recipe));
      sizes.target = static_cast<std::size_t>(largest_chunk() * to);
      break;
    case Operation::encode:
      sizes.source = static_cast<std::size_t>(largest_chunk() * dense_element_bytes(recipe));
      sizes.middle = static_cast<std::size_t>(
          recipe.reference_scales ? extent * (recipe.columns / kBlockSize) : 0);
      sizes.target = static_cast<std::size_t>(extent * whole_unit(recipe));
      break;
  }
  return sizes;
}

}  // namespace mxferry::internal
