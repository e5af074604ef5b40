#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxfp4/encode.h"
#include "mxfp4/quant_table.h"

// Quantizes one block at a time in double precision, where everything is exact, and shares no
// arithmetic with the kernels: the reference that they are tested against, and the encoder of
// blocks that they leave out.
namespace mxferry::internal::mxfp4::reference {

// The table row of the options' mode, limited to scale 252 if the options say so.
QuantRow row_of(const EncodeOptions& options) noexcept;

// The exact value of weight (row, column).
double weight_at(const DenseView& dense, std::size_t row, std::size_t column) noexcept;

// The scale of a block with this largest magnitude; for ScaleRule::least_error, that of `fit`.
std::uint8_t scale_of(double largest, ScaleRule rule, const QuantRow& row) noexcept;

// The code of a weight under a scale below 255: nearest, ties to even, saturating.
int code_of(double weight, std::uint8_t scale) noexcept;

// Whether all 32 weights are FP4_VALUES times the scale.
bool is_exact_under(const double* weights, std::uint8_t scale) noexcept;

struct Block {
  std::uint8_t scale = 0;
  bool kept = false;
  bool saturated = false;
};
// Quantizes 32 weights into 16 bytes.
Block encode_block(const double* weights, const QuantRow& row,
                   std::optional<std::uint8_t> reference_scale, std::uint8_t* block) noexcept;

// Like mxfp4::encode().
EncodeCounts encode(const DenseView& dense, const EncodeOptions& options,
                    const PackedTarget& target) noexcept;

}  // namespace mxferry::internal::mxfp4::reference
