#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxferry/dtype.h"

namespace mxferry::mxfp4 {

// Packed weights in memory; the format is described in include/mxferry/mxfp4.h. Row r holds
// `groups` blocks at blocks + r * block_row_bytes and as many scales at scales + r *
// scale_row_bytes. No alignment is needed.
struct PackedView {
  const std::uint8_t* blocks = nullptr;
  std::size_t block_row_bytes = 0;
  const std::uint8_t* scales = nullptr;
  std::size_t scale_row_bytes = 0;
  std::size_t rows = 0;
  std::size_t groups = 0;
};

// Where the output goes next. `streaming` bypasses the cache: right for a large result in memory,
// wrong for a buffer that is about to be written to a file.
enum class Stores { cached, streaming };

// Both decode exactly (BF16 and FP32 hold every product; FP16 is rounded to nearest even, overflow
// is infinity), never read or write outside the views, and take any alignment that dtype itself
// has. `dtype` is BF16, F16 or F32; out_row_stride is in elements.

// out[r * out_row_stride + g * 32 + i] = weight i of block (r, g).
void decode_rows(const PackedView& packed, DType dtype, std::byte* out, std::size_t out_row_stride,
                 Stores stores) noexcept;

// out[(g * 32 + i) * out_row_stride + r] = weight i of block (r, g).
void decode_transposed(const PackedView& packed, DType dtype, std::byte* out,
                       std::size_t out_row_stride, Stores stores) noexcept;

// The first block, by row and then group, with scale 255 or with a code that its scale takes to
// infinity.
struct BlockIndex {
  std::size_t row = 0;
  std::size_t group = 0;
};
std::optional<BlockIndex> find_nonfinite_block(const PackedView& packed) noexcept;

// What a decode to FP16 does to the weights. Counted only over finite blocks.
struct HalfLosses {
  std::optional<BlockIndex> first_overflow;  // a finite weight above 65504 in magnitude
  std::size_t underflows =
      0;                    // weights rounded below the normal range, those that become 0 included
  std::size_t flushed = 0;  // nonzero weights that become 0
};
HalfLosses count_half_losses(const PackedView& packed) noexcept;

}  // namespace mxferry::mxfp4
