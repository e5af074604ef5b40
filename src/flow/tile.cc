#include "flow/tile.h"

#include <algorithm>

#include "mxferry/mxfp4.h"

namespace mxferry {
namespace {

// Kernels work on 32 rows at a time.
constexpr std::int64_t kRowAlignment = 32;
constexpr std::int64_t kCopyBytes = std::int64_t{1} << 20;

std::int64_t element_bytes(DType dtype) noexcept {
  return bits(dtype) / 8;
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) noexcept {
  return (a + b - 1) / b;
}

// The stored source matrix of a transpose.
std::int64_t stored_rows(const Recipe& recipe) noexcept {
  return recipe.target_order == AxisOrder::out_in ? recipe.columns : recipe.rows;
}
std::int64_t stored_columns(const Recipe& recipe) noexcept {
  return recipe.target_order == AxisOrder::out_in ? recipe.rows : recipe.columns;
}

// Bytes of source per unit of the dimension that is cut.
std::int64_t source_unit(const Recipe& recipe) noexcept {
  switch (recipe.operation) {
    case Operation::decode:
      return recipe.columns / kBlockSize * (kBlockBytes + 1);
    case Operation::transpose:
      return stored_columns(recipe) * element_bytes(recipe.from);
    default:
      return 1;
  }
}

// Bytes of the smallest target chunk per unit of the dimension that is cut.
std::int64_t target_unit(const Recipe& recipe) noexcept {
  if (recipe.operation == Operation::decode && recipe.target_order == AxisOrder::in_out) {
    return kBlockSize * element_bytes(recipe.to);
  }
  return element_bytes(recipe.to);
}

std::int64_t tile_step(const Recipe& recipe, const TileLimits& limits,
                       std::int64_t extent) noexcept {
  if (recipe.operation == Operation::copy) return kCopyBytes;
  if (recipe.operation == Operation::cast) {
    return kCopyBytes / std::max(element_bytes(recipe.from), element_bytes(recipe.to));
  }
  std::int64_t step = static_cast<std::int64_t>(limits.source_bytes) /
                      std::max<std::int64_t>(1, source_unit(recipe));
  step = std::min(step, static_cast<std::int64_t>(limits.target_bytes) / target_unit(recipe));
  const std::int64_t parts_per_expert =
      divide_up(limits.parts, std::max<std::int64_t>(1, recipe.experts));
  step = std::min(step, divide_up(extent, parts_per_expert));
  if (step >= extent) return extent;
  return std::max(kRowAlignment, step / kRowAlignment * kRowAlignment);
}

}  // namespace

Tiling::Tiling(const Recipe& recipe, const TileLimits& limits) noexcept
    : recipe_experts_(recipe.experts) {
  extent_ = recipe.operation == Operation::decode      ? recipe.rows
            : recipe.operation == Operation::transpose ? stored_rows(recipe)
                                                       : recipe.columns;
  const bool nothing = recipe.experts == 0 || recipe.rows == 0 || recipe.columns == 0;
  step_ = nothing ? 1 : tile_step(recipe, limits, extent_);
  tiles_per_expert_ = nothing ? 0 : divide_up(extent_, step_);
}

Tile Tiling::tile(std::int64_t index) const noexcept {
  const std::int64_t begin = index % tiles_per_expert_ * step_;
  return {index / tiles_per_expert_, begin, std::min(extent_, begin + step_)};
}

std::uint64_t target_bytes(const Recipe& recipe, const Tile& tile) noexcept {
  const std::int64_t extent = tile.end - tile.begin;
  switch (recipe.operation) {
    case Operation::copy:
      return static_cast<std::uint64_t>(extent);
    case Operation::cast:
      return static_cast<std::uint64_t>(extent * element_bytes(recipe.to));
    case Operation::transpose:
      return static_cast<std::uint64_t>(extent * stored_columns(recipe) * element_bytes(recipe.to));
    case Operation::decode:
      return static_cast<std::uint64_t>(extent * recipe.columns * element_bytes(recipe.to));
  }
  return 0;
}

std::int64_t chunk_extent(const Recipe& recipe, const TileLimits& limits,
                          std::int64_t tile_extent) noexcept {
  const auto target_bytes = static_cast<std::int64_t>(limits.target_bytes);
  const std::int64_t element = element_bytes(recipe.to);
  if (recipe.operation == Operation::transpose) {
    return std::clamp<std::int64_t>(target_bytes / (tile_extent * element), 1,
                                    stored_columns(recipe));
  }
  if (recipe.target_order == AxisOrder::in_out) {
    return std::clamp<std::int64_t>(target_bytes / (tile_extent * kBlockSize * element), 1,
                                    std::max<std::int64_t>(1, recipe.columns / kBlockSize));
  }
  return std::clamp<std::int64_t>(target_bytes / (recipe.columns * element), 1, tile_extent);
}

namespace {

// Elements of the target in one chunk of a `decode` or `transpose`.
std::int64_t chunk_elements(const Recipe& recipe, const TileLimits& limits,
                            std::int64_t tile_extent) noexcept {
  const std::int64_t chunk = chunk_extent(recipe, limits, tile_extent);
  if (recipe.operation == Operation::transpose) return chunk * tile_extent;
  return recipe.target_order == AxisOrder::in_out ? chunk * kBlockSize * tile_extent
                                                  : chunk * recipe.columns;
}

}  // namespace

ScratchSizes scratch_sizes(const Recipe& recipe, const TileLimits& limits) noexcept {
  const Tiling tiling(recipe, limits);
  if (tiling.count() == 0) return {};
  const Tile first = tiling.tile(0);
  const Tile last = tiling.tile(tiling.count() - 1);
  const std::int64_t extent = first.end - first.begin;
  // The chunks of a shorter last tile are longer, and may take more.
  const auto largest_chunk = [&] {
    return std::max(chunk_elements(recipe, limits, extent),
                    chunk_elements(recipe, limits, last.end - last.begin));
  };
  const std::int64_t to = element_bytes(recipe.to);
  ScratchSizes sizes;
  switch (recipe.operation) {
    case Operation::copy:
      sizes.source = static_cast<std::size_t>(extent);
      break;
    case Operation::cast:
      sizes.source = static_cast<std::size_t>(extent * element_bytes(recipe.from));
      sizes.target = static_cast<std::size_t>(extent * to);
      break;
    case Operation::transpose:
      sizes.source = static_cast<std::size_t>(extent * source_unit(recipe));
      if (recipe.from != recipe.to)
        sizes.middle = static_cast<std::size_t>(extent * stored_columns(recipe) * to);
      sizes.target = static_cast<std::size_t>(largest_chunk() * to);
      break;
    case Operation::decode:
      sizes.source = static_cast<std::size_t>(extent * source_unit(recipe));
      sizes.target = static_cast<std::size_t>(largest_chunk() * to);
      break;
  }
  return sizes;
}

}  // namespace mxferry
