#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"

namespace mxferry::internal::mxfp4 {

// Random packed weights in buffers that end with the last byte that may be read.
struct Packed {
  std::vector<std::uint8_t> blocks;
  std::vector<std::uint8_t> scales;
  PackedView view;
};

struct PackedShape {
  std::size_t rows = 0;
  std::size_t groups = 0;
  std::size_t block_row_gap = 0;  // bytes between rows, and before the first
  std::size_t scale_row_gap = 0;
};

inline Packed random_packed(const PackedShape& shape, int least_scale, int most_scale,
                            std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::size_t block_row = shape.groups * kBlockBytes + shape.block_row_gap;
  const std::size_t scale_row = shape.groups + shape.scale_row_gap;
  Packed packed;
  packed.blocks.resize(shape.rows * block_row);
  packed.scales.resize(shape.rows * scale_row);
  for (std::uint8_t& byte : packed.blocks) byte = static_cast<std::uint8_t>(random());
  std::uniform_int_distribution<int> scale(least_scale, most_scale);
  for (std::uint8_t& byte : packed.scales) byte = static_cast<std::uint8_t>(scale(random));
  packed.view = {packed.blocks.data() + shape.block_row_gap,
                 block_row,
                 packed.scales.data() + shape.scale_row_gap,
                 scale_row,
                 shape.rows,
                 shape.groups};
  return packed;
}

}  // namespace mxferry::internal::mxfp4
