#pragma once

#include <cstddef>
#include <cstdint>

#include "mxferry/dtype.h"
#include "mxfp4/decode.h"

// Decodes MXFP4 one weight at a time, sharing nothing with the kernels: the reference that they are
// tested against, and the fallback for targets without vectors.
namespace mxferry::internal::mxfp4::reference {

// FP4_VALUES[code] * 2^(scale - 127) without rounding, NaN for scale 255. Finite even above FP32's
// range. `code` is 0 to 15.
double exact_value(std::uint8_t scale, int code) noexcept;

// The bit pattern of the nearest BF16, FP16 or FP32 number, ties to even, overflow to infinity.
std::uint32_t round_to(DType dtype, double value) noexcept;

// The code of weight i (0 to 31) of a block.
constexpr int code_at(const std::uint8_t* block, int i) noexcept {
  return (block[i / 2] >> (4 * (i % 2))) & 15;
}

// Like mxfp4::decode_rows() and mxfp4::decode_transposed().
void decode_rows(const PackedView& packed, DType dtype, std::byte* out,
                 std::size_t out_row_stride) noexcept;
void decode_transposed(const PackedView& packed, DType dtype, std::byte* out,
                       std::size_t out_row_stride) noexcept;

}  // namespace mxferry::internal::mxfp4::reference
