// Chooses the scales of ScaleRule::least_error. Included once per target.

#include <cstddef>
#include <cstdint>

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
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

// The magnitudes of a tile.
struct ExactTile {
  alignas(64) float magnitudes[kBlockSize][kEncodeRows];
};

using DF = hn::RebindToFloat<D32>;
using D64 = hn::Repartition<double, D8>;
using VF = hn::Vec<DF>;
inline constexpr std::size_t kFloats = 4 * kSlices;

// BF16 magnitudes are in the staged tile unchanged.
HWY_INLINE VF load_magnitudes(const StagedTile& tile, std::size_t input, std::size_t first_row) {
  const hn::Rebind<std::uint16_t, D32> d_half;
  const auto patterns =
      hn::And(hn::Load(d_half, tile.weights[input] + first_row), hn::Set(d_half, kMagnitude));
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(D32(), patterns)));
}

HWY_INLINE VF load_magnitudes(const ExactTile& tile, std::size_t input, std::size_t first_row) {
  return hn::Load(DF(), tile.magnitudes[input] + first_row);
}

// For scales below 254.
HWY_INLINE VF reciprocals_of(const std::uint16_t* scales) {
  const auto exponents = hn::PromoteTo(D32(), hn::Load(hn::Rebind<std::uint16_t, D32>(), scales));
  return hn::BitCast(DF(), hn::ShiftLeft<23>(hn::Sub(hn::Set(D32(), 254), exponents)));
}

// The largest power of two not above each number, 0 for numbers below the normal range.
HWY_INLINE VF powers_of(VF numbers) {
  return hn::BitCast(DF(), hn::And(hn::BitCast(D32(), numbers), hn::Set(D32(), 0x7F800000)));
}

// The nearest value of E2M1 times `scale`, ties to even. The step between values is half of the
// larger of `powers` and `scale`; adding and subtracting 1.5 * 2^23 times the step rounds to a
// multiple of it.
HWY_INLINE VF nearest_value(VF weights, VF powers, float scale) {
  const DF d;
  const VF rounder = hn::Mul(hn::Max(powers, hn::Set(d, scale)), hn::Set(d, 0x1.8p22F));
  return hn::Min(hn::Sub(hn::Add(weights, rounder), rounder), hn::Set(d, 6 * scale));
}

// Sums products that are exact in FP32.
template <typename T>
class Sums;

template <>
class Sums<float> {
 public:
  HWY_INLINE Sums() : sums_(hn::Zero(DF())) {}
  HWY_INLINE void add(VF a, VF b) { sums_ = hn::MulAdd(a, b, sums_); }
  HWY_INLINE void store(float* out) const { hn::Store(sums_, DF(), out); }

 private:
  VF sums_;
};

template <>
class Sums<double> {
 public:
  HWY_INLINE Sums() : lower_(hn::Zero(D64())), upper_(hn::Zero(D64())) {}
  HWY_INLINE void add(VF a, VF b) {
    const hn::Half<DF> half;
    const VF products = hn::Mul(a, b);
    lower_ = hn::Add(lower_, hn::PromoteTo(D64(), hn::LowerHalf(half, products)));
    upper_ = hn::Add(upper_, hn::PromoteTo(D64(), hn::UpperHalf(half, products)));
  }
  HWY_INLINE void store(double* out) const {
    hn::Store(lower_, D64(), out);
    hn::Store(upper_, D64(), out + kFloats / 2);
  }

 private:
  hn::Vec<D64> lower_;
  hn::Vec<D64> upper_;
};

// For kFloats rows: whether the scale `finer` has a smaller squared error than the next scale, as 1
// or 0. Sums the difference of the errors, (x - a)^2 - (x - b)^2 = (b - a)(2x - a - b). A weight
// below a quarter of the scale has a = b = 0. For others 2x - a - b is exact in FP32, and b - a is
// 0 or a power of two, so that terms are exact multiples of one power of two; their sum is exact in
// FP32 for weights of up to 8 significant bits (BF16), in FP64 for any.
template <typename T, class Tile>
HWY_INLINE void compare_errors(const Tile& tile, std::size_t first_row, const std::uint16_t* finer,
                               std::uint16_t* finer_is_better) {
  const VF reciprocal = reciprocals_of(finer);
  Sums<T> sums;
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    const VF x = hn::Mul(load_magnitudes(tile, i, first_row), reciprocal);
    const VF powers = powers_of(x);
    const VF a = nearest_value(x, powers, 1);
    const VF b = nearest_value(x, powers, 2);
    sums.add(hn::Sub(b, a), hn::Sub(hn::Add(x, x), hn::Add(a, b)));
  }
  alignas(64) T differences[kFloats];
  sums.store(differences);
  for (std::size_t lane = 0; lane < kFloats; ++lane) {
    finer_is_better[lane] = differences[lane] < 0 ? 1 : 0;
  }
}

// Chooses the scales of a strip's rows from `tile`, which has exact magnitudes. T is float if the
// source is BF16, else double.
template <typename T, class Tile>
void least_error_scales(const StagedTile& staged, const Tile& tile, std::size_t first_row,
                        const QuantRow& row, std::uint16_t* scales) {
  const D16 d16;
  const V16 maxima = Strip(staged, first_row).maxima();
  const V16 coarser = scales_of(maxima, ScaleRule::fit, row);
  alignas(64) std::uint16_t finer[kEncodeStripRows];
  alignas(64) std::uint16_t finer_is_better[kEncodeStripRows] = {};
  hn::Store(scales_of(maxima, ScaleRule::floor, row), d16, finer);
  for (std::size_t i = 0; i < kEncodeStripRows; i += kFloats) {
    compare_errors<T>(tile, first_row + i, finer + i, finer_is_better + i);
  }
  // If both rules agree, there is nothing to choose.
  const V16 gain = hn::Min(hn::Sub(coarser, hn::Load(d16, finer)), hn::Load(d16, finer_is_better));
  hn::StoreU(hn::Sub(coarser, gain), d16, scales);
}

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
