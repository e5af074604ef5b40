#include <algorithm>

#include "dense/convert.h"
#include "dense/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dense/transpose.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "dense/slices-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::dense::HWY_NAMESPACE {

// Tiles are as wide and high as a cache line, so that reads and writes cover whole lines.
template <typename T>
inline constexpr std::size_t kTile = 64 / sizeof(T);

// Rows transposed before moving on to the next columns: enough for long runs in the output, few
// enough that their lines stay in the second-level cache until all of a line's columns are done.
inline constexpr std::size_t kStripeRows = 512;

template <typename T>
void transpose_small(const T* in, std::size_t in_row_stride, std::size_t rows, std::size_t columns,
                     T* out, std::size_t out_row_stride) {
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t row = 0; row < rows; ++row) {
      out[column * out_row_stride + row] = in[row * in_row_stride + column];
    }
  }
}

#if HWY_TARGET == HWY_SCALAR

template <typename T>
void transpose_tile(const T* in, std::size_t in_row_stride, T* out, std::size_t out_row_stride) {
  transpose_small(in, in_row_stride, kTile<T>, kTile<T>, out, out_row_stride);
}

#else

using namespace mxferry::internal::HWY_NAMESPACE;  // slices-inl.h

template <typename T>
HWY_INLINE void transpose_tile(const T* in, std::size_t in_row_stride, T* out,
                               std::size_t out_row_stride) {
  const hn::FixedTag<T, 16 / sizeof(T) * kSlices> d;
  constexpr std::size_t kSide = 16 / sizeof(T);
  constexpr std::size_t kStripRows = kSide * kSlices;
  // Go through a copy of the tile: if the row stride is a power of two, all of its lines share a
  // few sets of the cache and would evict one another before they are used up.
  alignas(64) T tile[kTile<T>][kTile<T>];
  for (std::size_t row = 0; row < kTile<T>; ++row) {
    std::copy_n(in + row * in_row_stride, kTile<T>, tile[row]);
  }
  for (std::size_t column = 0; column < kTile<T>; column += kSide) {
    for (std::size_t strip = 0; strip < kTile<T>; strip += kStripRows) {
      hn::Vec<decltype(d)> v[kSide];
      for (std::size_t i = 0; i < kSide; ++i) {
        v[i] = load_slices(
            d, [&](std::size_t slice) { return &tile[strip + slice * kSide + i][column]; });
      }
      transpose_slices(d, v);
      for (std::size_t i = 0; i < kSide; ++i) {
        hn::StoreU(v[i], d, out + (column + i) * out_row_stride + strip);
      }
    }
  }
}

#endif

template <typename T>
void transpose_stripe(const T* in, std::size_t in_row_stride, std::size_t rows, std::size_t columns,
                      T* out, std::size_t out_row_stride) {
  for (std::size_t column = 0; column < columns; column += kTile<T>) {
    const std::size_t width = std::min(kTile<T>, columns - column);
    for (std::size_t row = 0; row < rows; row += kTile<T>) {
      const std::size_t height = std::min(kTile<T>, rows - row);
      const T* tile_in = in + row * in_row_stride + column;
      T* tile_out = out + column * out_row_stride + row;
      if (width == kTile<T> && height == kTile<T>) {
        transpose_tile(tile_in, in_row_stride, tile_out, out_row_stride);
      } else {
        transpose_small(tile_in, in_row_stride, height, width, tile_out, out_row_stride);
      }
    }
  }
}

template <typename T>
void transpose_as(const std::byte* in, std::size_t in_row_stride, std::size_t rows,
                  std::size_t columns, std::byte* out, std::size_t out_row_stride) {
  const T* typed_in = reinterpret_cast<const T*>(in);
  T* typed_out = reinterpret_cast<T*>(out);
  for (std::size_t row = 0; row < rows; row += kStripeRows) {
    transpose_stripe(typed_in + row * in_row_stride, in_row_stride,
                     std::min(kStripeRows, rows - row), columns, typed_out + row, out_row_stride);
  }
}

void transpose_here(const std::byte* in, std::size_t in_row_stride, std::size_t rows,
                    std::size_t columns, std::size_t element_bytes, std::byte* out,
                    std::size_t out_row_stride) {
  if (element_bytes == 4) {
    transpose_as<std::uint32_t>(in, in_row_stride, rows, columns, out, out_row_stride);
  } else {
    transpose_as<std::uint16_t>(in, in_row_stride, rows, columns, out, out_row_stride);
  }
}

}  // namespace mxferry::internal::dense::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::internal::dense {

HWY_EXPORT(transpose_here);

void transpose(const std::byte* in, std::size_t in_row_stride, std::size_t rows,
               std::size_t columns, std::size_t element_bytes, std::byte* out,
               std::size_t out_row_stride) noexcept {
  HWY_DYNAMIC_DISPATCH(transpose_here)
  (in, in_row_stride, rows, columns, element_bytes, out, out_row_stride);
}

}  // namespace mxferry::internal::dense
#endif  // HWY_ONCE
