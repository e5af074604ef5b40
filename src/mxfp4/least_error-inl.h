// Chooses the scales of ScaleRule::least_error. Included once per target.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/encode_tile-inl.h"

#if defined(MXFERRY_MXFP4_LEAST_ERROR_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_MXFP4_LEAST_ERROR_INL_H
#undef MXFERRY_MXFP4_LEAST_ERROR_INL_H
#else
#define MXFERRY_MXFP4_LEAST_ERROR_INL_H
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace mxferry::mxfp4::HWY_NAMESPACE {

// The magnitudes of a tile.
struct ExactTile {
  alignas(64) float magnitudes[kBlockSize][kEncodeRows];
};

// Vectors of T, as many lanes as kSlices slices have.
template <typename T>
using Floats = hn::FixedTag<T, 16 * kSlices / sizeof(T)>;

template <typename T>
HWY_INLINE hn::Vec<Floats<T>> load_as(const float* in) {
  if constexpr (std::is_same_v<T, float>) {
    return hn::Load(Floats<float>(), in);
  } else {
    return hn::PromoteTo(Floats<double>(), hn::Load(hn::Rebind<float, Floats<double>>(), in));
  }
}

// The nearest value of E2M1, ties to even: adding 1.5 * 2^(mantissa bits) times the step between
// values rounds to a multiple of it.
template <typename T>
HWY_INLINE hn::Vec<Floats<T>> nearest_value(hn::Vec<Floats<T>> weights) {
  const Floats<T> d;
  const hn::RebindToUnsigned<Floats<T>> d_bits;
  using Bits = hn::TFromD<decltype(d_bits)>;
  constexpr bool kSingle = sizeof(T) == 4;
  constexpr Bits kExponent = static_cast<Bits>(kSingle ? 0x7F800000 : 0x7FF0000000000000);
  constexpr T kRounder = kSingle ? T{0x1.8p23} : T{0x1.8p52};
  const auto power =
      hn::BitCast(d, hn::And(hn::BitCast(d_bits, weights), hn::Set(d_bits, kExponent)));
  const auto step = hn::Mul(hn::Max(power, hn::Set(d, T{1})), hn::Set(d, T{0.5}));
  const auto rounder = hn::Mul(step, hn::Set(d, kRounder));
  return hn::Min(hn::Sub(hn::Add(weights, rounder), rounder), hn::Set(d, T{6}));
}

// For as many rows as a vector of T has lanes: whether the scale `finer` has less squared error
// than the next one, as 1 or 0. The difference of the errors is summed, (x - a)^2 - (x - b)^2 =
// (b - a)(2x - a - b): a weight below a quarter of the scale has a = b = 0, so that the terms are
// multiples of one power of two, and their sum is exact in FP32 for weights of up to 8 significant
// bits (BF16), in FP64 for any.
template <typename T>
HWY_INLINE void compare_errors(const ExactTile& tile, std::size_t first_row,
                               const std::uint16_t* finer, std::uint16_t* finer_is_better) {
  const Floats<T> d;
  constexpr std::size_t kLanes = 16 * kSlices / sizeof(T);
  alignas(64) T reciprocals[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const std::uint32_t bits = static_cast<std::uint32_t>(254 - finer[lane]) << 23;
    float reciprocal = 0;
    std::memcpy(&reciprocal, &bits, sizeof(bits));
    reciprocals[lane] = reciprocal;
  }
  const auto reciprocal = hn::Load(d, reciprocals);
  auto difference = hn::Zero(d);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    const auto x = hn::Mul(load_as<T>(tile.magnitudes[i] + first_row), reciprocal);
    const auto a = nearest_value<T>(x);
    const auto half = nearest_value<T>(hn::Mul(x, hn::Set(d, T{0.5})));
    const auto b = hn::Add(half, half);
    const auto sum = hn::Sub(hn::Add(x, x), hn::Add(a, b));
    difference = hn::Add(difference, hn::Mul(hn::Sub(b, a), sum));
  }
  alignas(64) T differences[kLanes];
  hn::Store(difference, d, differences);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    finer_is_better[lane] = differences[lane] < 0 ? 1 : 0;
  }
}

// The scales of a strip's rows. T is float where the source is BF16, else double.
template <typename T>
void least_error_scales(const StagedTile& staged, const ExactTile& exact, std::size_t first_row,
                        const QuantRow& row, std::uint16_t* scales) {
  const D16 d16;
  const V16 maxima = Strip(staged, first_row).maxima();
  const V16 coarser = scales_of(maxima, ScaleRule::fit, row);
  alignas(64) std::uint16_t finer[kEncodeStripRows];
  alignas(64) std::uint16_t finer_is_better[kEncodeStripRows] = {};
  hn::Store(scales_of(maxima, ScaleRule::floor, row), d16, finer);
  for (std::size_t i = 0; i < kEncodeStripRows; i += 16 * kSlices / sizeof(T)) {
    compare_errors<T>(exact, first_row + i, finer + i, finer_is_better + i);
  }
  // Where both rules agree there is nothing to choose.
  const V16 gain = hn::Min(hn::Sub(coarser, hn::Load(d16, finer)), hn::Load(d16, finer_is_better));
  hn::StoreU(hn::Sub(coarser, gain), d16, scales);
}

}  // namespace mxferry::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
