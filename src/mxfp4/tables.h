#pragma once

#include <array>
#include <cstdint>

#include "mxferry/mxfp4.h"

namespace mxferry::internal::mxfp4 {

// For one scale, the 16-bit patterns of the 16 codes as two byte tables: what a 16-byte shuffle
// needs to look up 16 weights of a block at once.
struct ScaleTable {
  std::array<std::uint8_t, 16> low;
  std::array<std::uint8_t, 16> high;
};

// Indexed by scale. 8 KiB, of which a tensor uses a few dozen rows.
using ScaleTables = std::array<ScaleTable, 256>;

namespace detail {

// Codes 1 to 7 as 2^exponent * (1 + half / 2).
struct Magnitude {
  int exponent;
  int half;
};
inline constexpr std::array<Magnitude, 8> kMagnitudes = {
    {{0, 0}, {-1, 0}, {0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 0}, {2, 1}}};

// The pattern of a code under a scale in a 16-bit format, rounded to nearest even.
constexpr std::uint16_t pattern(int scale, int code, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int infinity = ((1 << exponent_bits) - 1) << mantissa_bits;
  const int sign = (code >> 3) << 15;
  const auto [exponent, half] = kMagnitudes[static_cast<std::size_t>(code & 7)];
  if (scale == 255) return static_cast<std::uint16_t>(infinity | 1 << (mantissa_bits - 1));
  if ((code & 7) == 0) return static_cast<std::uint16_t>(sign);

  const int field = scale - kScaleBias + exponent + (1 << (exponent_bits - 1)) - 1;
  const int mantissa = half << (mantissa_bits - 1);
  if (field > 0) {
    const int normal = field << mantissa_bits | mantissa;
    return static_cast<std::uint16_t>(sign | (normal < infinity ? normal : infinity));
  }
  // Subnormal: the hidden bit becomes explicit and moves right.
  const int drop = 1 - field;
  if (drop > mantissa_bits + 2) return static_cast<std::uint16_t>(sign);
  const int full = 1 << mantissa_bits | mantissa;
  const int odd = full >> drop & 1;
  return static_cast<std::uint16_t>(sign | (full + (1 << (drop - 1)) - 1 + odd) >> drop);
}

constexpr ScaleTables make_scale_tables(int exponent_bits) {
  ScaleTables tables{};
  for (int scale = 0; scale < 256; ++scale) {
    for (int code = 0; code < 16; ++code) {
      const std::uint16_t bits = pattern(scale, code, exponent_bits);
      ScaleTable& table = tables[static_cast<std::size_t>(scale)];
      table.low[static_cast<std::size_t>(code)] = static_cast<std::uint8_t>(bits & 0xFF);
      table.high[static_cast<std::size_t>(code)] = static_cast<std::uint8_t>(bits >> 8);
    }
  }
  return tables;
}

}  // namespace detail

alignas(64) inline constexpr ScaleTables kBf16Tables = detail::make_scale_tables(8);
alignas(64) inline constexpr ScaleTables kF16Tables = detail::make_scale_tables(5);

}  // namespace mxferry::internal::mxfp4
