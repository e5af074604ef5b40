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

// A piece of a region, in elements of the tensor: a part of one of its matrices.
struct RegionTile {
  std::int64_t matrix = 0;  // of the tensor
  std::int64_t memory = 0;  // where the box of this matrix begins in memory
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

// Whether lines of a file that begin every `stride` bytes are read with what lies between them:
// where that is less than a page, it comes from the disk anyway and costs less than a call.
constexpr bool reads_through(std::size_t bytes, std::size_t stride) noexcept {
  constexpr std::size_t kPage = 4096;
  return stride - bytes < kPage;
}

// A region as matrices [lines, columns], cut into tiles for threads. The dimensions that a stored
// tensor and memory both hold without gaps are one.
class RegionTiles {
 public:
  // `region` must outlive this object.
  RegionTiles(const RegionRead& region, std::int64_t tile_bytes);

  const RegionRead& region() const noexcept { return *region_; }
  const RegionDim& lines() const noexcept { return dims_[dims_.size() - 2]; }
  const RegionDim& columns() const noexcept { return dims_.back(); }

  std::int64_t count() const noexcept { return matrices_ * line_tiles_ * column_tiles_; }
  RegionTile tile(std::int64_t index) const noexcept;
  // Enough for any of the tiles.
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
