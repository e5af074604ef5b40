#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxferry/dtype.h"
#include "mxferry/quant_mode.h"
#include "mxfp4/decode.h"

namespace mxferry::internal::mxfp4 {

// Dense weights in memory: weight (row, column) is element row * stride + column of `data`, or
// element column * stride + row if `order` is transposed. `columns`, the input dimension, is a
// multiple of 32. `dtype` is BF16, F16 or F32. Needs no alignment.
struct DenseView {
  const std::byte* data = nullptr;
  DType dtype = DType::BF16;
  Order order = Order::rows;
  std::size_t stride = 0;  // in elements
  std::size_t rows = 0;
  std::size_t columns = 0;
};

// Where to put packed weights; like PackedView, with rows and groups given by the dense weights.
struct PackedTarget {
  std::uint8_t* blocks = nullptr;
  std::size_t block_row_bytes = 0;
  std::uint8_t* scales = nullptr;
  std::size_t scale_row_bytes = 0;
};

struct EncodeOptions {
  QuantMode mode = QuantMode::gptoss;
  // The scales of a packed checkpoint of the same model, laid out like the target's; may be null. A
  // block whose weights are all FP4_VALUES * its reference scale keeps that scale in every mode, so
  // that weights unchanged since they were decoded get their bytes back.
  const std::uint8_t* reference_scales = nullptr;
  std::size_t reference_row_bytes = 0;
  // `streaming` applies to the blocks, if they are aligned to 16 bytes.
  Stores stores = Stores::cached;
  // Use no scale above 252, the last under which all codes are finite: infinite weights saturate.
  bool saturate_nonfinite = false;
};

struct EncodeCounts {
  std::uint64_t blocks = 0;
  std::uint64_t kept = 0;       // blocks that keep the reference's scale
  std::uint64_t saturated = 0;  // blocks with a weight beyond 6 * scale
  // Some weight may be nonfinite or too large for MXFP4: find_unencodable() tells.
  bool suspicious = false;

  EncodeCounts& operator+=(const EncodeCounts& other) noexcept {
    blocks += other.blocks;
    kept += other.kept;
    saturated += other.saturated;
    suspicious |= other.suspicious;
    return *this;
  }
};

// Quantizes. Never reads or writes outside the views. Nonfinite weights become +-6, with an
// unspecified scale.
EncodeCounts encode(const DenseView& dense, const EncodeOptions& options,
                    const PackedTarget& target) noexcept;

// A weight that encode() cannot represent under `options`: NaN; infinite, unless
// saturate_nonfinite; or so large that its block would decode to infinity.
struct Unencodable {
  std::size_t row = 0;
  std::size_t column = 0;
  double value = 0;
};
std::optional<Unencodable> find_unencodable(const DenseView& dense,
                                            const EncodeOptions& options) noexcept;

// A whole dense tensor in memory, without gaps: [experts, rows, columns], or [experts, columns,
// rows] if `order` is transposed.
struct DenseTensorView {
  const std::byte* data = nullptr;
  DType dtype = DType::BF16;
  Order order = Order::rows;
  std::size_t experts = 0;
  std::size_t rows = 0;
  std::size_t columns = 0;
};

// The matrix of one expert.
DenseView expert_of(const DenseTensorView& tensor, std::size_t expert) noexcept;

// Quantizes a whole tensor into arrays like PackedTensorView's, on `threads` threads.
// `reference_scales` is [experts, rows, columns / 32], or null. Throws only what starting threads
// throws.
EncodeCounts encode_tensor(const DenseTensorView& tensor, QuantMode mode,
                           const std::uint8_t* reference_scales, std::uint8_t* blocks,
                           std::uint8_t* scales, int threads);

}  // namespace mxferry::internal::mxfp4
