#include "mxfp4/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "mxferry/mxfp4.h"

namespace mxferry::internal::mxfp4::reference {
namespace {

struct Format {
  int exponent_bits;
  int mantissa_bits;
};

Format format_of(DType dtype) noexcept {
  if (dtype == DType::BF16) return {8, 7};
  if (dtype == DType::F16) return {5, 10};
  return {8, 23};
}

void store(DType dtype, double value, std::byte* out, std::size_t index) noexcept {
  const std::uint32_t pattern = round_to(dtype, value);
  const auto narrow = static_cast<std::uint16_t>(pattern);
  if (dtype == DType::F32) {
    std::memcpy(out + index * 4, &pattern, 4);
  } else {
    std::memcpy(out + index * 2, &narrow, 2);
  }
}

// Calls visit(row, column, value) for every weight, row by row.
template <typename Visit>
void for_each_weight(const PackedView& packed, const Visit& visit) {
  for (std::size_t row = 0; row < packed.rows; ++row) {
    for (std::size_t group = 0; group < packed.groups; ++group) {
      const std::uint8_t* block =
          packed.blocks + row * packed.block_row_bytes + group * kBlockBytes;
      const std::uint8_t scale = packed.scales[row * packed.scale_row_bytes + group];
      for (int i = 0; i < kBlockSize; ++i) {
        visit(row, group * kBlockSize + static_cast<std::size_t>(i),
              exact_value(scale, code_at(block, i)));
      }
    }
  }
}

}  // namespace

double exact_value(std::uint8_t scale, int code) noexcept {
  if (scale == 255) return std::numeric_limits<double>::quiet_NaN();
  return std::ldexp(double{FP4_VALUES[static_cast<std::size_t>(code)]}, scale - kScaleBias);
}

std::uint32_t round_to(DType dtype, double value) noexcept {
  const auto [exponent_bits, mantissa_bits] = format_of(dtype);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const std::uint32_t infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
  const std::uint32_t sign =
      std::signbit(value) ? 1u << static_cast<unsigned>(exponent_bits + mantissa_bits) : 0;
  if (std::isnan(value)) return sign | infinity | 1u << static_cast<unsigned>(mantissa_bits - 1);
  if (value == 0) return sign;
  if (std::isinf(value)) return sign | infinity;

  const int exponent = std::max(std::ilogb(value), 1 - bias);
  // Magnitude in units of the last place of that exponent: below 2^mantissa_bits if subnormal,
  // 2^(mantissa_bits + 1) if rounding carried into the next exponent. Either way the patterns are
  // contiguous.
  const double units = std::nearbyint(std::ldexp(std::fabs(value), mantissa_bits - exponent));
  const std::int64_t magnitude = (static_cast<std::int64_t>(exponent + bias - 1) << mantissa_bits) +
                                 static_cast<std::int64_t>(units);
  return sign | static_cast<std::uint32_t>(std::min<std::int64_t>(magnitude, infinity));
}

void decode_rows(const PackedView& packed, DType dtype, std::byte* out,
                 std::size_t out_row_stride) noexcept {
  for_each_weight(packed, [&](std::size_t row, std::size_t column, double value) {
    store(dtype, value, out, row * out_row_stride + column);
  });
}

void decode_transposed(const PackedView& packed, DType dtype, std::byte* out,
                       std::size_t out_row_stride) noexcept {
  for_each_weight(packed, [&](std::size_t row, std::size_t column, double value) {
    store(dtype, value, out, column * out_row_stride + row);
  });
}

}  // namespace mxferry::internal::mxfp4::reference
