#include <algorithm>
#include <cstring>

#include "dense/targets.h"
#include "mxfp4/decode.h"
#include "mxfp4/reference.h"
#include "mxfp4/tables.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mxfp4/decode_transposed.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "mxfp4/emit-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxferry::mxfp4::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void decode_transposed_here(const PackedView& packed, DType dtype, std::byte* out,
                            std::size_t out_row_stride, Stores /*stores*/) {
  reference::decode_transposed(packed, dtype, out, out_row_stride);
}

#else

// A tile is one block of each of 32 rows: 32 weights wide, which is a whole cache line of a 16-bit
// dtype in every row of the output.
inline constexpr std::size_t kTileRows = 32;
inline constexpr std::size_t kStripRows = 8 * kSlices;  // rows side by side in a vector
inline constexpr std::size_t kStrips = kTileRows / kStripRows;

// Patterns of 16 bits of one tile, decoded and not yet transposed. A vector holds, for kSlices
// rows, the 8 weights of a quarter: 0 and 1 the even ones of each half block, 2 and 3 the odd ones.
struct DecodedTile {
  alignas(64) std::uint16_t vectors[4][kStrips][8][8 * kSlices];
};

template <typename T>
HWY_INLINE void decode_tile(const PackedView& packed, const ScaleTables& tables,
                            DecodedTile& tile) {
  const D8 d8;
  const D16 d16;
  for (std::size_t strip = 0; strip < kStrips; ++strip) {
    for (std::size_t i = 0; i < 8; ++i) {
      const std::size_t row = strip * kStripRows + element_at<T>(0, i);
      const std::size_t other = strip * kStripRows + element_at<T>(kSlices - 1, i);
      const V8 bytes = load_slices(d8, packed.blocks + row * packed.block_row_bytes,
                                   packed.blocks + other * packed.block_row_bytes);
      const ScaleTable& table = tables[packed.scales[row * packed.scale_row_bytes]];
      const ScaleTable& other_table = tables[packed.scales[other * packed.scale_row_bytes]];
      const V8 low_bytes = load_slices(d8, table.low.data(), other_table.low.data());
      const V8 high_bytes = load_slices(d8, table.high.data(), other_table.high.data());
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
HWY_INLINE void write_tile(const DecodedTile& tile, T* out, std::size_t out_row_stride) {
  const D16 d16;
  for (std::size_t quarter = 0; quarter < 4; ++quarter) {
    V16 columns[kStrips][8];
    for (std::size_t strip = 0; strip < kStrips; ++strip) {
      for (std::size_t i = 0; i < 8; ++i) {
        columns[strip][i] = hn::Load(d16, tile.vectors[quarter][strip][i]);
      }
      transpose_slices(d16, columns[strip]);
    }
    const std::size_t first = quarter / 2 + quarter % 2 * 16;
    for (std::size_t i = 0; i < 8; ++i) {
      T* row = out + (first + 2 * i) * out_row_stride;
      for (std::size_t strip = 0; strip < kStrips; ++strip) {
        emit<T, kStream>(columns[strip][i], row + strip * kStripRows);
      }
    }
  }
}

// `packed` starts at the tile and has at least kTileRows rows.
template <typename T, bool kStream>
HWY_INLINE void transpose_tile(const PackedView& packed, const ScaleTables& tables, T* out,
                               std::size_t out_row_stride) {
  DecodedTile tile;
  decode_tile<T>(packed, tables, tile);
  write_tile<T, kStream>(tile, out, out_row_stride);
}

// A tile of fewer rows, by way of copies that have them all.
template <typename T>
void transpose_partial_tile(const PackedView& packed, const ScaleTables& tables, T* out,
                            std::size_t out_row_stride) {
  std::uint8_t blocks[kTileRows * kBlockBytes] = {};
  std::uint8_t scales[kTileRows] = {};
  for (std::size_t row = 0; row < packed.rows; ++row) {
    std::memcpy(blocks + row * kBlockBytes, packed.blocks + row * packed.block_row_bytes,
                kBlockBytes);
    scales[row] = packed.scales[row * packed.scale_row_bytes];
  }
  T whole[kBlockSize * kTileRows];
  transpose_tile<T, false>({blocks, kBlockBytes, scales, 1, kTileRows, 1}, tables, whole,
                           kTileRows);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    std::memcpy(out + i * out_row_stride, whole + i * kTileRows, packed.rows * sizeof(T));
  }
}

// Rows from `row` and one group from `group` of it.
PackedView tile_at(const PackedView& packed, std::size_t row, std::size_t group) {
  PackedView tile = packed;
  tile.blocks += row * packed.block_row_bytes + group * kBlockBytes;
  tile.scales += row * packed.scale_row_bytes + group;
  tile.rows -= row;
  tile.groups = 1;
  return tile;
}

// Rows that are decoded group by group before the next rows: their blocks stay in the second-level
// cache, and the output gets runs of one or two KiB.
inline constexpr std::size_t kStripeRows = 320;

template <typename T, bool kStream>
void transpose_all(const PackedView& packed, const ScaleTables& tables, T* out,
                   std::size_t out_row_stride) {
  for (std::size_t begin = 0; begin < packed.rows; begin += kStripeRows) {
    const std::size_t end = std::min(packed.rows, begin + kStripeRows);
    for (std::size_t group = 0; group < packed.groups; ++group) {
      T* group_out = out + group * kBlockSize * out_row_stride;
      std::size_t row = begin;
      for (; row + kTileRows <= end; row += kTileRows) {
        transpose_tile<T, kStream>(tile_at(packed, row, group), tables, group_out + row,
                                   out_row_stride);
      }
      if (row < end) {
        transpose_partial_tile<T>(tile_at(packed, row, group), tables, group_out + row,
                                  out_row_stride);
      }
    }
  }
  if constexpr (kStream) hwy::FlushStream();
}

template <typename T>
void transpose_as(const PackedView& packed, const ScaleTables& tables, std::byte* out,
                  std::size_t out_row_stride, Stores stores) {
  T* typed_out = reinterpret_cast<T*>(out);
  if (stores == Stores::streaming && can_stream<T>(out, out_row_stride)) {
    transpose_all<T, true>(packed, tables, typed_out, out_row_stride);
  } else {
    transpose_all<T, false>(packed, tables, typed_out, out_row_stride);
  }
}

void decode_transposed_here(const PackedView& packed, DType dtype, std::byte* out,
                            std::size_t out_row_stride, Stores stores) {
  const ScaleTables& tables = dtype == DType::F16 ? kF16Tables : kBf16Tables;
  if (dtype == DType::F32) {
    transpose_as<std::uint32_t>(packed, tables, out, out_row_stride, stores);
  } else {
    transpose_as<std::uint16_t>(packed, tables, out, out_row_stride, stores);
  }
}

#endif

}  // namespace mxferry::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::mxfp4 {

// Only functions that are not noexcept: GCC 14 and Clang refuse a table of such.
HWY_EXPORT(decode_transposed_here);

void decode_transposed(const PackedView& packed, DType dtype, std::byte* out,
                       std::size_t out_row_stride, Stores stores) noexcept {
  HWY_DYNAMIC_DISPATCH(decode_transposed_here)(packed, dtype, out, out_row_stride, stores);
}

}  // namespace mxferry::mxfp4
#endif  // HWY_ONCE
