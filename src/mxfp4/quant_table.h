#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "mxferry/quant_mode.h"

namespace mxferry::internal::mxfp4 {

// How a block's largest magnitude, max = m * 2^k with 1 <= m < 2, determines its scale.
enum class ScaleRule : std::uint8_t {
  fit,          // 2^(k - 2), or twice that if m > 1.5: nothing is beyond 6 times the scale
  floor,        // 2^(k - 2)
  even,         // 2^(k - 2), or twice that if m >= 1.75
  least_error,  // floor's or fit's, whichever has less squared error; fit's on a tie
};

// How to round a weight between two values of E2M1.
enum class Rounding : std::uint8_t { nearest_even };

// The sign of a zero, and of a weight that rounds to zero.
enum class ZeroSign : std::uint8_t { kept };

// A public mode, with every property in which modes differ.
struct QuantRow {
  QuantMode mode = QuantMode::gptoss;
  std::string_view name;
  ScaleRule scale = ScaleRule::fit;
  Rounding rounding = Rounding::nearest_even;
  ZeroSign zero_sign = ZeroSign::kept;
  std::uint8_t zero_block = 0;  // the scale of a block of zeros
  std::uint8_t least_scale = 0;
  std::uint8_t most_scale = 0;
};

std::span<const QuantRow> quant_rows() noexcept;
const QuantRow& quant_row(QuantMode mode) noexcept;

}  // namespace mxferry::internal::mxfp4
