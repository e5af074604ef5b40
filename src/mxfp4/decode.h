#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxferry/dtype.h"

namespace mxferry::internal::mxfp4 {

// Packed weights in memory, in the format of include/mxferry/mxfp4.h. Row r holds `groups` blocks
// at blocks + r * block_row_bytes and as many scales at scales + r * scale_row_bytes. Needs no
// alignment.
struct PackedView {
  const std::uint8_t* blocks = nullptr;
  std::size_t block_row_bytes = 0;
  const std::uint8_t* scales = nullptr;
  std::size_t scale_row_bytes = 0;
  std::size_t rows = 0;
  std::size_t groups = 0;
};

// How output is stored. `streaming` bypasses the cache: right for a large result in memory, wrong
// for a buffer that is about to be written to a file.
enum class Stores { cached, streaming };

// Both decode exactly (BF16 and FP32 hold every product; FP16 is rounded to nearest even, overflow
// is infinity), never read or write outside the views, and need `out` aligned only to its elements.
// `dtype` is BF16, F16 or F32; out_row_stride is in elements.

// out[r * out_row_stride + g * 32 + i] = weight i of block (r, g).
void decode_rows(const PackedView& packed, DType dtype, std::byte* out, std::size_t out_row_stride,
                 Stores stores) noexcept;

// out[(g * 32 + i) * out_row_stride + r] = weight i of block (r, g).
void decode_transposed(const PackedView& packed, DType dtype, std::byte* out,
                       std::size_t out_row_stride, Stores stores) noexcept;

// A whole packed tensor [experts, rows, groups] in memory, without gaps.
struct PackedTensorView {
  const std::uint8_t* blocks = nullptr;  // [experts, rows, groups, 16]
  const std::uint8_t* scales = nullptr;  // [experts, rows, groups]
  std::size_t experts = 0;
  std::size_t rows = 0;
  std::size_t groups = 0;
};

// [experts, rows, groups * 32] or [experts, groups * 32, rows].
enum class Order { rows, transposed };

// Decodes into `out`, without gaps, on `threads` threads, bypassing the cache. Fastest if `out` and
// its rows are aligned to 64 bytes. Throws only what starting threads throws.
void decode_tensor(const PackedTensorView& tensor, DType dtype, Order order, std::byte* out,
                   int threads);

// The first block, by row and then by group, with scale 255 or with a code that its scale takes to
// infinity.
struct BlockIndex {
  std::size_t row = 0;
  std::size_t group = 0;
  bool operator==(const BlockIndex&) const = default;
};
std::optional<BlockIndex> find_nonfinite_block(const PackedView& packed) noexcept;

// What decoding to FP16 loses of the weights of finite blocks.
struct HalfLosses {
  // The first block with a weight above 65504 in magnitude, which becomes infinite.
  std::optional<BlockIndex> first_overflow;
  // Weights below FP16's normal range that FP16 does not hold exactly, flushed ones included.
  std::size_t underflows = 0;
  // Nonzero weights that become 0.
  std::size_t flushed = 0;
};
HalfLosses count_half_losses(const PackedView& packed) noexcept;

}  // namespace mxferry::internal::mxfp4
