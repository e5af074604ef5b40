#include "mxfp4/encode_reference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "mxferry/mxfp4.h"

namespace mxferry::internal::mxfp4 {
namespace reference {
namespace {

// From this magnitude on, scale 253 rounds a weight to 4 * 2^126 or more, which is infinite in
// FP32.
constexpr double kFirstTooLarge = 0x1.Cp127;
constexpr std::uint8_t kLastFiniteScale = 252;

constexpr std::array<double, 8> kValues = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

double half_value(std::uint16_t bits) noexcept {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 0x3FF;
  double magnitude = std::ldexp(mantissa + (exponent == 0 ? 0 : 1024), std::max(exponent, 1) - 25);
  if (exponent == 31) {
    magnitude = mantissa == 0 ? std::numeric_limits<double>::infinity()
                              : std::numeric_limits<double>::quiet_NaN();
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

double float_value(std::uint32_t bits) noexcept {
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The weight's magnitude in units of the scale.
double units(double weight, std::uint8_t scale) noexcept {
  return std::ldexp(std::fabs(weight), kScaleBias - scale);
}

double largest_magnitude(const double* weights) noexcept {
  double largest = 0;
  for (int i = 0; i < kBlockSize; ++i) {
    // NaN counts as infinite.
    largest = std::fabs(weights[i]) <= largest ? largest : std::fabs(weights[i]);
    if (std::isnan(largest)) return std::numeric_limits<double>::infinity();
  }
  return largest;
}

// Whether `scale` has a smaller squared error over the block than the next scale. Every term is a
// small multiple of a power of two: see least_error-inl.h.
bool has_less_error_than_next(const double* weights, std::uint8_t scale) noexcept {
  double difference = 0;
  for (int i = 0; i < kBlockSize; ++i) {
    const double x = units(weights[i], scale);
    const auto next = static_cast<std::uint8_t>(scale + 1);
    const double a = kValues[static_cast<std::size_t>(code_of(std::fabs(weights[i]), scale))];
    const double b = 2 * kValues[static_cast<std::size_t>(code_of(std::fabs(weights[i]), next))];
    difference += (b - a) * (2 * x - (a + b));
  }
  return difference < 0;
}

std::uint8_t choose_scale(const double* weights, double largest, const QuantRow& row) noexcept {
  if (largest == 0) return row.zero_block;
  const std::uint8_t scale = scale_of(largest, row.scale, row);
  if (row.scale != ScaleRule::least_error || !std::isfinite(largest)) return scale;
  const std::uint8_t finer = scale_of(largest, ScaleRule::floor, row);
  return finer < scale && has_less_error_than_next(weights, finer) ? finer : scale;
}

}  // namespace

QuantRow row_of(const EncodeOptions& options) noexcept {
  QuantRow row = quant_row(options.mode);
  if (options.saturate_nonfinite) row.most_scale = std::min(row.most_scale, kLastFiniteScale);
  return row;
}

double weight_at(const DenseView& dense, std::size_t row, std::size_t column) noexcept {
  const std::size_t index =
      dense.order == Order::transposed ? column * dense.stride + row : row * dense.stride + column;
  std::uint32_t wide = 0;
  std::uint16_t narrow = 0;
  if (dense.dtype == DType::F32) {
    std::memcpy(&wide, dense.data + index * sizeof(wide), sizeof(wide));
    return float_value(wide);
  }
  std::memcpy(&narrow, dense.data + index * sizeof(narrow), sizeof(narrow));
  if (dense.dtype == DType::F16) return half_value(narrow);
  return float_value(std::uint32_t{narrow} << 16);
}

std::uint8_t scale_of(double largest, ScaleRule rule, const QuantRow& row) noexcept {
  if (largest == 0) return row.zero_block;
  if (!std::isfinite(largest)) return row.most_scale;
  int exponent = 0;
  const double mantissa = 2 * std::frexp(largest, &exponent);  // [1, 2), largest = m * 2^(e - 1)
  const double last_of_scale = rule == ScaleRule::floor  ? 2
                               : rule == ScaleRule::even ? std::nextafter(1.75, 0)
                                                         : 1.5;
  const int scale = exponent - 1 - 2 + (mantissa > last_of_scale ? 1 : 0) + kScaleBias;
  return static_cast<std::uint8_t>(std::clamp(scale, int{row.least_scale}, int{row.most_scale}));
}

int code_of(double weight, std::uint8_t scale) noexcept {
  const double magnitude = units(weight, scale);
  int code = 7;
  for (int i = 0; i < 7; ++i) {
    const double middle =
        (kValues[static_cast<std::size_t>(i)] + kValues[static_cast<std::size_t>(i) + 1]) / 2;
    // The even one of two neighbors is the one with an even code.
    if (magnitude < middle || (magnitude == middle && i % 2 == 0)) {
      code = i;
      break;
    }
  }
  return std::signbit(weight) ? code | 8 : code;
}

bool is_exact_under(const double* weights, std::uint8_t scale) noexcept {
  if (scale == 255) return false;
  return std::all_of(weights, weights + kBlockSize, [&](double weight) {
    return std::ranges::find(kValues, units(weight, scale)) != kValues.end();
  });
}

Block encode_block(const double* weights, const QuantRow& row,
                   std::optional<std::uint8_t> reference_scale, std::uint8_t* block) noexcept {
  const double largest = largest_magnitude(weights);
  Block result;
  result.kept = reference_scale && is_exact_under(weights, *reference_scale);
  result.scale = result.kept ? *reference_scale : choose_scale(weights, largest, row);
  constexpr double kMostUnits = 6;
  result.saturated = units(largest, result.scale) > kMostUnits;
  for (std::size_t i = 0; i < kBlockBytes; ++i) {
    block[i] = static_cast<std::uint8_t>(code_of(weights[2 * i], result.scale) |
                                         code_of(weights[2 * i + 1], result.scale) << 4);
  }
  return result;
}

EncodeCounts encode(const DenseView& dense, const EncodeOptions& options,
                    const PackedTarget& target) noexcept {
  const QuantRow row = row_of(options);
  EncodeCounts counts;
  for (std::size_t r = 0; r < dense.rows; ++r) {
    for (std::size_t group = 0; group < dense.columns / kBlockSize; ++group) {
      std::array<double, kBlockSize> weights{};
      for (std::size_t i = 0; i < kBlockSize; ++i) {
        weights[i] = weight_at(dense, r, group * kBlockSize + i);
      }
      std::optional<std::uint8_t> reference_scale;
      if (options.reference_scales != nullptr) {
        reference_scale = options.reference_scales[r * options.reference_row_bytes + group];
      }
      const Block block =
          encode_block(weights.data(), row, reference_scale,
                       target.blocks + r * target.block_row_bytes + group * kBlockBytes);
      target.scales[r * target.scale_row_bytes + group] = block.scale;
      ++counts.blocks;
      counts.kept += block.kept;
      counts.saturated += block.saturated;
      counts.suspicious |= largest_magnitude(weights.data()) >= kFirstTooLarge;
    }
  }
  return counts;
}

}  // namespace reference

std::optional<Unencodable> find_unencodable(const DenseView& dense,
                                            const EncodeOptions& options) noexcept {
  const QuantRow row = reference::row_of(options);
  const bool can_overflow = row.most_scale > reference::kLastFiniteScale;
  for (std::size_t r = 0; r < dense.rows; ++r) {
    for (std::size_t column = 0; column < dense.columns; ++column) {
      const double value = reference::weight_at(dense, r, column);
      const bool too_large =
          std::isfinite(value) && can_overflow && std::fabs(value) >= reference::kFirstTooLarge;
      if (std::isnan(value) || too_large || (std::isinf(value) && !options.saturate_nonfinite)) {
        return Unencodable{r, column, value};
      }
    }
  }
  return std::nullopt;
}

}  // namespace mxferry::internal::mxfp4
