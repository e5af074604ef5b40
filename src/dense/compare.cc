#include "dense/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "dense/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dense/compare.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace mxferry::dense::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// In the place of a signal whose squares may have left the range of FP32.
inline constexpr double kUnsound = std::numeric_limits<double>::quiet_NaN();

// Sixteen lanes at most, so that a run is a whole number of vectors, two or more, on every target.
inline constexpr std::size_t kMostLanes = 16;
using D = hn::CappedTag<float, kMostLanes>;
using DBits = hn::RebindToUnsigned<D>;
#if HWY_TARGET == HWY_SCALAR
using DWide = hn::Rebind<double, D>;
#else
using DWide = hn::Repartition<double, D>;
#endif
using V = hn::Vec<D>;
using VBits = hn::Vec<DBits>;
using VWide = hn::Vec<DWide>;
using M = hn::Mask<D>;

HWY_INLINE V load(const float* in) {
  return hn::LoadU(D(), in);
}

// BF16.
HWY_INLINE V load(const std::uint16_t* in) {
  const hn::Rebind<std::uint16_t, D> d_narrow;
  return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(DBits(), hn::LoadU(d_narrow, in))));
}

// Fewer weights than a vector has, as if zeros followed.
template <typename T>
HWY_INLINE V load_some(const T* in, std::size_t count) {
  alignas(64) T padded[kMostLanes] = {};
  std::copy_n(in, count, padded);
  return load(padded);
}

// Sums of squares, in FP32 over a run and in FP64 over all.
class Squares {
 public:
  HWY_INLINE Squares() : run_(hn::Zero(D())), sum_(hn::Zero(DWide())) {}

  HWY_INLINE void add(V values) { run_ = hn::MulAdd(values, values, run_); }

  HWY_INLINE void end_run() {
#if HWY_TARGET == HWY_SCALAR
    sum_ = hn::Add(sum_, hn::PromoteTo(DWide(), run_));
#else
    const hn::Half<D> half;
    sum_ = hn::Add(sum_, hn::Add(hn::PromoteTo(DWide(), hn::LowerHalf(half, run_)),
                                 hn::PromoteTo(DWide(), hn::UpperHalf(half, run_))));
#endif
    run_ = hn::Zero(D());
  }

  double total() const { return hn::GetLane(hn::SumOfLanes(DWide(), sum_)); }

 private:
  V run_;
  VWide sum_;
};

// Sums over pairs of weights, a lane each.
class Totals {
 public:
  HWY_INLINE Totals()
      : different_(hn::Zero(DBits())),
        zero_signs_(hn::Zero(DBits())),
        max_error_(hn::Zero(D())),
        max_weight_(hn::Zero(D())),
        max_ratio_(hn::Zero(D())) {}

  // Returns the lanes that differ.
  HWY_INLINE M add(V a, V b) {
    const D d;
    const DBits d_bits;
    // Not Ne(), whose answer for NaN depends on the instruction set.
    const M unequal = hn::Not(hn::Eq(a, b));
    const M differs = hn::AndNot(hn::And(hn::IsNaN(a), hn::IsNaN(b)), unequal);
    const auto bits_differ = hn::Ne(hn::BitCast(d_bits, a), hn::BitCast(d_bits, b));
    count(different_, hn::RebindMask(d_bits, differs));
    count(zero_signs_, hn::AndNot(hn::RebindMask(d_bits, unequal), bits_differ));
    const V error = hn::Abs(hn::Sub(b, a));
    const M finite = hn::Le(error, hn::Set(d, std::numeric_limits<float>::max()));
    const V sound_error = hn::IfThenElseZero(finite, error);
    const V magnitude = hn::Abs(hn::IfThenElseZero(finite, a));
    max_error_ = hn::Max(max_error_, sound_error);
    max_weight_ = hn::Max(max_weight_, magnitude);
    // Divides only where the ratio grows, which it soon stops to do.
    const M grows = hn::And(hn::Gt(sound_error, hn::Mul(max_ratio_, magnitude)),
                            hn::Gt(magnitude, hn::Zero(d)));
    if (!hn::AllFalse(d, grows)) {
      max_ratio_ = hn::IfThenElse(grows, hn::Div(sound_error, magnitude), max_ratio_);
    }
    signal_.add(magnitude);
    noise_.add(sound_error);
    return differs;
  }

  // After every kRun weights of a lane, or fewer.
  HWY_INLINE void end_run() {
    signal_.end_run();
    noise_.end_run();
  }

  Difference take() const {
    Difference total;
    total.different = sum(different_);
    total.zero_signs = sum(zero_signs_);
    total.max_absolute_error = hn::GetLane(hn::MaxOfLanes(D(), max_error_));
    total.max_relative_error = hn::GetLane(hn::MaxOfLanes(D(), max_ratio_));
    total.signal = signal_.total();
    total.noise = noise_.total();
    return total;
  }

  // Whether squares may have left the range of FP32.
  bool squares_are_unsound() const {
    constexpr float kLargest = 0x1p60F;
    constexpr float kSmallest = 0x1p-40F;
    const float weight = hn::GetLane(hn::MaxOfLanes(D(), max_weight_));
    const float error = hn::GetLane(hn::MaxOfLanes(D(), max_error_));
    const auto is_outside = [&](float value) {
      return value > kLargest || (value > 0 && value < kSmallest);
    };
    return is_outside(weight) || is_outside(error);
  }

 private:
  static HWY_INLINE void count(VBits& counter, hn::Mask<DBits> mask) {
    counter = hn::Sub(counter, hn::VecFromMask(DBits(), mask));
  }

  static std::uint64_t sum(VBits counter) {
    alignas(64) std::uint32_t lanes[kMostLanes] = {};
    hn::Store(counter, DBits(), lanes);
    std::uint64_t total = 0;
    for (const std::uint32_t lane : lanes) total += lane;
    return total;
  }

  VBits different_;
  VBits zero_signs_;
  V max_error_;
  V max_weight_;
  V max_ratio_;
  Squares signal_;
  Squares noise_;
};

template <typename T>
void compare_weights(const T* a, const T* b, std::size_t count, Totals& result) {
  Totals totals = result;  // in registers
  const std::size_t lanes = hn::Lanes(D());
  for (std::size_t i = 0; i < count; i += kRun) {
    for (std::size_t j = i; j < std::min(i + kRun, count); j += lanes) {
      if (j + lanes <= count) {
        totals.add(load(a + j), load(b + j));
      } else {
        totals.add(load_some(a + j, count - j), load_some(b + j, count - j));
      }
    }
    totals.end_run();
  }
  result = totals;
}

struct BlockCounts {
  std::uint64_t changed = 0;
  std::uint64_t saturated = 0;
};

template <typename T>
BlockCounts compare_along(const T* a, const T* b, std::size_t blocks, const float* limits,
                          Totals& result) {
  Totals totals = result;  // in registers
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  BlockCounts counts;
  for (std::size_t block = 0; block < blocks; ++block) {
    M any = hn::Ne(hn::Zero(d), hn::Zero(d));
    M beyond = any;
    const V limit =
        hn::Set(d, limits == nullptr ? std::numeric_limits<float>::max() : limits[block]);
    for (std::size_t i = block * kRun; i < (block + 1) * kRun; i += lanes) {
      const V weights = load(a + i);
      any = hn::Or(any, totals.add(weights, load(b + i)));
      beyond = hn::Or(beyond, hn::Gt(hn::Abs(weights), limit));
    }
    totals.end_run();
    counts.changed += hn::AllFalse(d, any) ? 0 : 1;
    counts.saturated += limits == nullptr || hn::AllFalse(d, beyond) ? 0 : 1;
  }
  result = totals;
  return counts;
}

// As many blocks side by side as a vector has lanes. load_a(i) and load_b(i) are their weights i;
// lanes without a block hold zeros.
template <class LoadA, class LoadB>
HWY_INLINE void compare_columns(const LoadA& load_a, const LoadB& load_b, V limit, Totals& result,
                                BlockCounts& counts) {
  Totals totals = result;  // in registers
  const D d;
  M any = hn::Ne(hn::Zero(d), hn::Zero(d));
  M beyond = any;
  for (std::size_t i = 0; i < kRun; ++i) {
    const V weights = load_a(i);
    any = hn::Or(any, totals.add(weights, load_b(i)));
    beyond = hn::Or(beyond, hn::Gt(hn::Abs(weights), limit));
  }
  totals.end_run();
  result = totals;
  counts.changed += hn::CountTrue(d, any);
  counts.saturated += hn::CountTrue(d, beyond);
}

template <typename T>
BlockCounts compare_across(const Pair& pair, const float* limits, Totals& totals) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t length = pair.length;
  BlockCounts counts;
  for (std::size_t line = 0; line < pair.lines; line += kRun) {
    for (std::size_t column = 0; column < length; column += lanes) {
      const std::size_t count = std::min(lanes, length - column);
      const T* a = reinterpret_cast<const T*>(pair.a) + line * length + column;
      const T* b = reinterpret_cast<const T*>(pair.b) + line * length + column;
      const float* here = limits == nullptr ? nullptr : limits + line / kRun * length + column;
      if (count == lanes) {
        compare_columns(
            [&](std::size_t i) { return load(a + i * length); },
            [&](std::size_t i) { return load(b + i * length); },
            here == nullptr ? hn::Set(d, std::numeric_limits<float>::infinity()) : load(here),
            totals, counts);
      } else {
        compare_columns([&](std::size_t i) { return load_some(a + i * length, count); },
                        [&](std::size_t i) { return load_some(b + i * length, count); },
                        here == nullptr ? hn::Set(d, std::numeric_limits<float>::infinity())
                                        : load_some(here, count),
                        totals, counts);
      }
    }
  }
  return counts;
}

template <typename T>
Difference compare_as(const Pair& pair, Blocks blocks, const float* limits) {
  const T* a = reinterpret_cast<const T*>(pair.a);
  const T* b = reinterpret_cast<const T*>(pair.b);
  const std::size_t weights = pair.lines * pair.length;
  Totals totals;
  BlockCounts counts;
  switch (blocks) {
    case Blocks::none:
      compare_weights(a, b, weights, totals);
      break;
    case Blocks::along_lines:
      counts = compare_along(a, b, weights / kRun, limits, totals);
      break;
    case Blocks::across_lines:
      counts = compare_across<T>(pair, limits, totals);
      break;
  }
  Difference total = totals.take();
  if (totals.squares_are_unsound()) total.signal = kUnsound;
  total.weights = weights;
  total.blocks = blocks == Blocks::none ? 0 : weights / kRun;
  total.blocks_changed = counts.changed;
  total.blocks_saturated = counts.saturated;
  return total;
}

// Of weights that are all the same on both sides.
template <typename T>
double signal_as(const std::byte* weights, std::size_t count) {
  const T* in = reinterpret_cast<const T*>(weights);
  const std::size_t lanes = hn::Lanes(D());
  Squares squares;
  std::size_t i = 0;
  for (; i + kRun <= count; i += kRun) {
    for (std::size_t j = 0; j < kRun; j += lanes) squares.add(load(in + i + j));
    squares.end_run();
  }
  for (; i < count; ++i) squares.add(load_some(in + i, 1));
  squares.end_run();
  return squares.total();
}

double signal_here(const Pair& pair) {
  const std::size_t count = pair.lines * pair.length;
  return pair.dtype == DType::BF16 ? signal_as<std::uint16_t>(pair.a, count)
                                   : signal_as<float>(pair.a, count);
}

Difference compare_here(const Pair& pair, Blocks blocks, const float* limits) {
  return pair.dtype == DType::BF16 ? compare_as<std::uint16_t>(pair, blocks, limits)
                                   : compare_as<float>(pair, blocks, limits);
}

}  // namespace mxferry::dense::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::dense {

HWY_EXPORT(compare_here);
HWY_EXPORT(signal_here);

namespace {

// The sums of squares, in FP64, where FP32 does not do.
void square_exactly(const Pair& pair, Difference& total) {
  total.signal = 0;
  total.noise = 0;
  for (std::size_t i = 0; i < pair.lines * pair.length; ++i) {
    const double a = weight(pair.a, pair.dtype, i);
    const double b = weight(pair.b, pair.dtype, i);
    if (!(std::fabs(b - a) <= double{std::numeric_limits<float>::max()})) continue;
    total.signal += a * a;
    total.noise += (b - a) * (b - a);
  }
}

}  // namespace

Difference compare(const Pair& pair, Blocks blocks, const float* limits) noexcept {
  Difference difference = HWY_DYNAMIC_DISPATCH(compare_here)(pair, blocks, limits);
  if (std::isnan(difference.signal)) square_exactly(pair, difference);
  return difference;
}

std::optional<Difference> compare_if_equal(const Pair& pair, Blocks blocks) noexcept {
  const std::size_t weights = pair.lines * pair.length;
  const std::size_t bytes = weights * static_cast<std::size_t>(bits(pair.dtype)) / 8;
  if (std::memcmp(pair.a, pair.b, bytes) != 0) return std::nullopt;
  const double signal = HWY_DYNAMIC_DISPATCH(signal_here)(pair);
  // Where squares left the range of FP32, or some weight is not finite, the long way tells.
  constexpr double kSmallestSound = 0x1p-90;
  if (!std::isfinite(signal) || signal < kSmallestSound) return std::nullopt;
  return Difference{
      .weights = weights, .blocks = blocks == Blocks::none ? 0 : weights / kRun, .signal = signal};
}

double weight(const std::byte* weights, DType dtype, std::size_t i) noexcept {
  std::uint32_t bits = 0;
  if (dtype == DType::BF16) {
    std::uint16_t narrow = 0;
    std::memcpy(&narrow, weights + i * sizeof(narrow), sizeof(narrow));
    bits = std::uint32_t{narrow} << 16;
  } else {
    std::memcpy(&bits, weights + i * sizeof(bits), sizeof(bits));
  }
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return double{value};
}

std::size_t find_error(const Pair& pair, double error) noexcept {
  const auto error_at = [&](std::size_t i) {
    const auto a = static_cast<float>(weight(pair.a, pair.dtype, i));
    const auto b = static_cast<float>(weight(pair.b, pair.dtype, i));
    return double{std::fabs(b - a)};
  };
  std::size_t i = 0;
  while (i + 1 < pair.lines * pair.length && error_at(i) != error) ++i;
  return i;
}

}  // namespace mxferry::dense
#endif  // HWY_ONCE
