// Decodes and transposes a tile with any scales: looks each row up in the table of its scale, then
// transposes the patterns. Included once per target.

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"
#include "mxfp4/emit-inl.h"
#include "mxfp4/tables.h"

#if defined(MXFERRY_MXFP4_EXACT_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_MXFP4_EXACT_TILE_INL_H
#undef MXFERRY_MXFP4_EXACT_TILE_INL_H
#else
#define MXFERRY_MXFP4_EXACT_TILE_INL_H
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

inline constexpr std::size_t kExactStripRows = 8 * kSlices;  // rows side by side in a vector
inline constexpr std::size_t kExactStrips = kTileRows / kExactStripRows;

// The 16-bit patterns of a tile, decoded but not yet transposed. A vector holds, for kSlices rows,
// the 8 weights of a quarter: quarters 0 and 1 are the even weights of each half block, 2 and 3 the
// odd ones.
struct DecodedTile {
  alignas(64) std::uint16_t vectors[4][kExactStrips][8][8 * kSlices];
};

template <typename T>
void lookup_tile(const PackedView& packed, const ScaleTables& tables, DecodedTile& tile) {
  const D8 d8;
  const D16 d16;
  for (std::size_t strip = 0; strip < kExactStrips; ++strip) {
    for (std::size_t i = 0; i < 8; ++i) {
      const auto row = [&](std::size_t slice) {
        return strip * kExactStripRows + element_at<T>(slice, i);
      };
      const auto table = [&](std::size_t slice) -> const ScaleTable& {
        return tables[packed.scales[row(slice) * packed.scale_row_bytes]];
      };
      const V8 bytes = load_slices(d8, [&](std::size_t slice) {
        return packed.blocks + row(slice) * packed.block_row_bytes;
      });
      const V8 low_bytes =
          load_slices(d8, [&](std::size_t slice) { return table(slice).low.data(); });
      const V8 high_bytes =
          load_slices(d8, [&](std::size_t slice) { return table(slice).high.data(); });
      const V8 codes[2] = {hn::And(bytes, hn::Set(d8, 15)), hn::ShiftRight<4>(bytes)};
      for (std::size_t odd = 0; odd < 2; ++odd) {
        const V8 low = hn::TableLookupBytes(low_bytes, codes[odd]);
        const V8 high = hn::TableLookupBytes(high_bytes, codes[odd]);
        hn::Store(hn::BitCast(d16, hn::InterleaveLower(d8, low, high)), d16,
                  tile.vectors[2 * odd][strip][i]);
        hn::Store(hn::BitCast(d16, hn::InterleaveUpper(d8, low, high)), d16,
                  tile.vectors[2 * odd + 1][strip][i]);
      }
    }
  }
}

template <typename T, bool kStream>
void write_tile(const DecodedTile& tile, T* out, std::size_t out_row_stride) {
  const D16 d16;
  for (std::size_t quarter = 0; quarter < 4; ++quarter) {
    V16 columns[kExactStrips][8];
    for (std::size_t strip = 0; strip < kExactStrips; ++strip) {
      for (std::size_t i = 0; i < 8; ++i) {
        columns[strip][i] = hn::Load(d16, tile.vectors[quarter][strip][i]);
      }
      transpose_slices(d16, columns[strip]);
    }
    const std::size_t first = quarter / 2 + quarter % 2 * 16;
    for (std::size_t i = 0; i < 8; ++i) {
      T* row = out + (first + 2 * i) * out_row_stride;
      for (std::size_t strip = 0; strip < kExactStrips; ++strip) {
        emit<T, kStream>(columns[strip][i], row + strip * kExactStripRows);
      }
    }
  }
}

// `packed` starts at the tile and has at least kTileRows rows.
template <typename T, bool kStream>
void transpose_tile_exactly(const PackedView& packed, const ScaleTables& tables, T* out,
                            std::size_t out_row_stride) {
  DecodedTile tile;
  lookup_tile<T>(packed, tables, tile);
  write_tile<T, kStream>(tile, out, out_row_stride);
}

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
