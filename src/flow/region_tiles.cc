#include "flow/region_tiles.h"

#include <algorithm>

#include "flow/sizes.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

// This many rows of weights fill whole cache lines in any dtype.
constexpr std::int64_t kRowUnit = 128;

// Bytes in the buffer for each line that is read.
std::int64_t buffered(std::int64_t bytes, std::int64_t stride) noexcept {
  return reads_through(static_cast<std::size_t>(bytes), static_cast<std::size_t>(stride)) ? stride
                                                                                          : bytes;
}

bool decodes(const RegionRead& region) noexcept {
  return region.recipe->operation == Operation::decode;
}
bool transposes(const RegionRead& region) noexcept {
  return region.recipe->operation == Operation::transpose;
}

// Number of groups that hold columns [begin, begin + extent) of the weights.
std::int64_t covering_groups(const RegionDim& dim) noexcept {
  return divide_up(dim.begin + dim.extent, kBlockSize) - dim.begin / kBlockSize;
}

// Bytes in the buffer for each row of packed weights.
std::int64_t packed_row(const RegionRead& region, const RegionDim& inputs) noexcept {
  const std::int64_t groups = covering_groups(inputs);
  const std::int64_t all = region.recipe->columns / kBlockSize;
  return buffered(groups * kBlockBytes, all * kBlockBytes) + buffered(groups, all);
}

bool joins(const RegionDim& outer, const RegionDim& inner) noexcept {
  return inner.extent == inner.size &&
         (outer.extent == 1 || outer.stride == inner.stride * inner.extent);
}

}  // namespace

RegionBufferSizes largest(const RegionBufferSizes& a, const RegionBufferSizes& b) noexcept {
  return {std::max(a.stored, b.stored), std::max(a.spare, b.spare)};
}

RegionTiles::RegionTiles(const RegionRead& region, std::int64_t tile_bytes) : region_(&region) {
  const bool flat = !decodes(region) && !transposes(region);
  for (std::size_t i = 0; i < region.shape.size(); ++i) {
    const RegionDim dim{region.shape[i], region.begin[i], region.extent[i], region.strides[i]};
    if (flat && !dims_.empty() && joins(dims_.back(), dim)) {
      RegionDim& joined = dims_.back();
      joined.size *= dim.size;
      joined.begin *= dim.size;
      joined.extent *= dim.size;
      joined.stride = dim.stride;
    } else {
      dims_.push_back(dim);
    }
  }
  while (dims_.size() < 2) dims_.insert(dims_.begin(), RegionDim());
  for (std::size_t i = 0; i + 2 < dims_.size(); ++i) matrices_ *= dims_[i].extent;
  if (matrices_ > 0 && lines().extent > 0 && columns().extent > 0) cut(tile_bytes);
}

void RegionTiles::cut(std::int64_t tile_bytes) noexcept {
  const std::int64_t from = element_size(region_->from);
  const auto rows_within = [tile_bytes](std::int64_t row_bytes) {
    const std::int64_t rows = std::max<std::int64_t>(1, tile_bytes / row_bytes);
    return rows < kRowUnit ? rows : rows / kRowUnit * kRowUnit;
  };
  line_step_ = lines().extent;
  column_step_ = columns().extent;
  if (decodes(*region_)) {
    const bool transposed = region_->recipe->target_order == AxisOrder::in_out;
    std::int64_t& row_step = transposed ? column_step_ : line_step_;
    row_step = rows_within(packed_row(*region_, transposed ? lines() : columns()));
  } else if (transposes(*region_)) {
    column_step_ = rows_within(buffered(lines().extent * from, lines().size * from));
  } else {
    column_step_ = std::clamp<std::int64_t>(tile_bytes / from, 1, columns().extent);
    line_step_ = std::max<std::int64_t>(
        1, tile_bytes / buffered(column_step_ * from, columns().size * from));
  }
  line_step_ = std::min(line_step_, lines().extent);
  column_step_ = std::min(column_step_, columns().extent);
  line_tiles_ = divide_up(lines().extent, line_step_);
  column_tiles_ = divide_up(columns().extent, column_step_);
}

RegionTile RegionTiles::tile(std::int64_t index) const noexcept {
  RegionTile tile;
  const std::int64_t column = index % column_tiles_ * column_step_;
  index /= column_tiles_;
  const std::int64_t line = index % line_tiles_ * line_step_;
  index /= line_tiles_;
  tile.line = lines().begin + line;
  tile.lines = std::min(line_step_, lines().extent - line);
  tile.column = columns().begin + column;
  tile.columns = std::min(column_step_, columns().extent - column);
  std::int64_t matrices = 1;  // of the dimensions seen so far
  for (std::size_t i = dims_.size() - 2; i-- > 0;) {
    const RegionDim& dim = dims_[i];
    const std::int64_t place = index % dim.extent;
    index /= dim.extent;
    tile.matrix += (dim.begin + place) * matrices;
    tile.memory += place * dim.stride;
    matrices *= dim.size;
  }
  return tile;
}

RegionBufferSizes RegionTiles::buffer_sizes() const noexcept {
  if (count() == 0) return {};
  const std::int64_t from = element_size(region_->from);
  const std::int64_t to = element_size(region_->to);
  std::int64_t stored = 0;
  std::int64_t spare = 0;
  if (decodes(*region_)) {
    const bool transposed = region_->recipe->target_order == AxisOrder::in_out;
    const std::int64_t rows = transposed ? column_step_ : line_step_;
    stored = rows * packed_row(*region_, transposed ? lines() : columns());
    spare = rows * kBlockSize * to;
  } else if (transposes(*region_)) {
    stored = column_step_ * buffered(lines().extent * from, lines().size * from);
    spare = region_->from == region_->to ? 0 : column_step_ * lines().extent * to;
  } else {
    stored = line_step_ * buffered(column_step_ * from, columns().size * from);
  }
  return {static_cast<std::size_t>(stored), static_cast<std::size_t>(spare)};
}

}  // namespace mxferry::internal
