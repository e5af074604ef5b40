#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "flow/region.h"

namespace mxferry::internal {

// One dimension of a region.
struct RegionDim {
  std::int64_t size = 1;    // of the tensor
  std::int64_t begin = 0;   // of the box in it
  std::int64_t extent = 1;  // of the box
  std::int64_t stride = 1;  // in memory, in elements
};

// A tile of a region: a box of one of its matrices, in elements of the tensor.
struct RegionTile {
  std::int64_t matrix = 0;  // of the tensor
  std::int64_t memory = 0;  // where the region's box of this matrix begins, in elements
  std::int64_t line = 0;
  std::int64_t lines = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
};

struct RegionBufferSizes {
  std::size_t stored = 0;
  std::size_t spare = 0;
};
RegionBufferSizes largest(const RegionBufferSizes& a, const RegionBufferSizes& b) noexcept;

// Whether lines of a file that begin every `stride` bytes are read with the bytes between them: a
// gap of less than a page comes from the disk anyway and costs less than another call.
constexpr bool reads_through(std::size_t bytes, std::size_t stride) noexcept {
  constexpr std::size_t kPage = 4096;
  return stride - bytes < kPage;
}

// A region as matrices [lines, columns], cut into tiles for threads. Merges dimensions that are
// contiguous in both the stored tensor and memory, unless it decodes or transposes.
class RegionTiles {
 public:
  // `region` must outlive this object.
  RegionTiles(const RegionRead& region, std::int64_t tile_bytes);

  const RegionRead& region() const noexcept { return *region_; }
  const RegionDim& lines() const noexcept { return dims_[dims_.size() - 2]; }
  const RegionDim& columns() const noexcept { return dims_.back(); }

  std::int64_t count() const noexcept { return matrices_ * line_tiles_ * column_tiles_; }
  RegionTile tile(std::int64_t index) const noexcept;
  // Large enough for any tile.
  RegionBufferSizes buffer_sizes() const noexcept;

 private:
  void cut(std::int64_t tile_bytes) noexcept;

  const RegionRead* region_;
  std::vector<RegionDim> dims_;
  std::int64_t matrices_ = 1;
  std::int64_t line_step_ = 1, column_step_ = 1;
  std::int64_t line_tiles_ = 0, column_tiles_ = 0;
};

}  // namespace mxferry::internal
