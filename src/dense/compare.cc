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
namespace mxferry::internal::dense::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Stands for a signal whose squares may have left the range of FP32.
inline constexpr double kUnsound = std::numeric_limits<double>::quiet_NaN();

// At most 16 lanes, so that a run is a whole number of vectors, at least two, on every target.
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

// Loads BF16.
HWY_INLINE V load(const std::uint16_t* in) {
  const hn::Rebind<std::uint16_t, D> d_narrow;
  return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(DBits(), hn::LoadU(d_narrow, in))));
}

// Loads fewer weights than a vector has lanes, padding with zeros.
template <typename T>
HWY_INLINE V load_some(const T* in, std::size_t count) {
  alignas(64) T padded[kMostLanes] = {};
  std::copy_n(in, count, padded);
  return load(padded);
}

// Sums squares, in FP32 within a run and in FP64 across runs.
class Squares {
 public:
  HWY_INLINE Squares() : sum_(hn::Zero(DWide())) {}

  HWY_INLINE void add_run(V run) {
#if HWY_TARGET == HWY_SCALAR
    sum_ = hn::Add(sum_, hn::PromoteTo(DWide(), run));
#else
    const hn::Half<D> half;
    sum_ = hn::Add(sum_, hn::Add(hn::PromoteTo(DWide(), hn::LowerHalf(half, run)),
                                 hn::PromoteTo(DWide(), hn::UpperHalf(half, run))));
#endif
  }

  double total() const { return hn::GetLane(hn::SumOfLanes(DWide(), sum_)); }

 private:
  VWide sum_;
};

// The outcome of a run, for each lane.
struct RunOutcome {
  M differs;  // some pair of weights differs
  M beyond;   // some weight of `a` exceeds its limit in magnitude
};

// Totals over pairs of weights, per lane.
class Totals {
 public:
  HWY_INLINE Totals()
      : max_error_(hn::Zero(D())), max_weight_(hn::Zero(D())), max_ratio_(hn::Zero(D())) {}

  // Adds the weights load_a(i) and load_b(i) for i in [0, vectors); `vectors` is at most kRun.
  template <class LoadA, class LoadB>
  HWY_INLINE RunOutcome add_run(std::size_t vectors, const LoadA& load_a, const LoadB& load_b,
                                V limit) {
    const D d;
    const DBits d_bits;
    Sums run;
    for (std::size_t i = 0; i < vectors; ++i) {
      const V a = load_a(i);
      const V b = load_b(i);
      const V error = hn::Abs(hn::Sub(b, a));
      run.different += hn::CountTrue(d, hn::Gt(error, hn::Zero(d)));
      run.other_bits +=
          hn::CountTrue(d_bits, hn::Ne(hn::BitCast(d_bits, a), hn::BitCast(d_bits, b)));
      run.add(hn::Abs(a), error, max_ratio_);
    }
    // A nonfinite weight makes one of the sums nonfinite, as may squares of large weights.
    const V most = hn::Set(d, std::numeric_limits<float>::max());
    if (!hn::AllTrue(d, hn::Le(hn::Add(run.signal, run.noise), most))) {
      return add_careful_run(vectors, load_a, load_b, limit);
    }
    add(run, run.other_bits - run.different);
    return {hn::Gt(run.max_error, hn::Zero(d)), hn::Gt(run.max_weight, limit)};
  }

  Difference take() const {
    Difference total;
    total.different = different_;
    total.zero_signs = zero_signs_;
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
  // The sums of one run.
  struct Sums {
    std::size_t different = 0;
    std::size_t other_bits = 0;
    V max_error, max_weight, max_ratio, signal, noise;

    HWY_INLINE Sums()
        : max_error(hn::Zero(D())),
          max_weight(hn::Zero(D())),
          max_ratio(hn::Zero(D())),
          signal(hn::Zero(D())),
          noise(hn::Zero(D())) {}

    // `known_ratio` is the largest ratio of earlier runs.
    HWY_INLINE void add(V magnitude, V error, V known_ratio) {
      const D d;
      max_error = hn::Max(max_error, error);
      max_weight = hn::Max(max_weight, magnitude);
      signal = hn::MulAdd(magnitude, magnitude, signal);
      noise = hn::MulAdd(error, error, noise);
      // Divides only where the ratio grows, which soon becomes rare.
      const V ratio = hn::Max(max_ratio, known_ratio);
      M grows = hn::Gt(error, hn::Mul(ratio, magnitude));
      if (!hn::AllFalse(d, grows)) {
        grows = hn::And(grows, hn::Gt(magnitude, hn::Zero(d)));
        max_ratio = hn::IfThenElse(grows, hn::Div(error, magnitude), max_ratio);
      }
    }
  };

  // For runs that may hold NaN, which equals NaN here, or infinity: unequal pairs count as
  // different, but pairs without a finite error enter no sum.
  template <class LoadA, class LoadB>
  HWY_NOINLINE RunOutcome add_careful_run(std::size_t vectors, const LoadA& load_a,
                                          const LoadB& load_b, V limit) {
    const D d;
    const DBits d_bits;
    Sums run;
    std::size_t zero_signs = 0;
    RunOutcome outcome{hn::Ne(hn::Zero(d), hn::Zero(d)), hn::Ne(hn::Zero(d), hn::Zero(d))};
    for (std::size_t i = 0; i < vectors; ++i) {
      const V a = load_a(i);
      const V b = load_b(i);
      // Not Ne(), whose answer for NaN depends on the instruction set.
      const M unequal = hn::Not(hn::Eq(a, b));
      const M differs = hn::AndNot(hn::And(hn::IsNaN(a), hn::IsNaN(b)), unequal);
      const auto other_bits = hn::Ne(hn::BitCast(d_bits, a), hn::BitCast(d_bits, b));
      run.different += hn::CountTrue(d, differs);
      zero_signs += hn::CountTrue(d_bits, hn::AndNot(hn::RebindMask(d_bits, unequal), other_bits));
      const V error = hn::Abs(hn::Sub(b, a));
      const M finite = hn::Le(error, hn::Set(d, std::numeric_limits<float>::max()));
      run.add(hn::Abs(hn::IfThenElseZero(finite, a)), hn::IfThenElseZero(finite, error),
              max_ratio_);
      outcome.differs = hn::Or(outcome.differs, differs);
      outcome.beyond = hn::Or(outcome.beyond, hn::Gt(hn::Abs(a), limit));
    }
    add(run, zero_signs);
    return outcome;
  }

  HWY_INLINE void add(const Sums& run, std::size_t zero_signs) {
    different_ += run.different;
    zero_signs_ += zero_signs;
    max_error_ = hn::Max(max_error_, run.max_error);
    max_weight_ = hn::Max(max_weight_, run.max_weight);
    max_ratio_ = hn::Max(max_ratio_, run.max_ratio);
    signal_.add_run(run.signal);
    noise_.add_run(run.noise);
  }

  std::uint64_t different_ = 0;
  std::uint64_t zero_signs_ = 0;
  V max_error_;
  V max_weight_;
  V max_ratio_;
  Squares signal_;
  Squares noise_;
};

HWY_INLINE V no_limit() {
  return hn::Set(D(), std::numeric_limits<float>::infinity());
}

template <typename T>
void compare_weights(const T* a, const T* b, std::size_t count, Totals& totals) {
  const std::size_t lanes = hn::Lanes(D());
  std::size_t i = 0;
  for (; i + kRun <= count; i += kRun) {
    totals.add_run(
        kRun / lanes, [&](std::size_t j) { return load(a + i + j * lanes); },
        [&](std::size_t j) { return load(b + i + j * lanes); }, no_limit());
  }
  for (; i < count; i += lanes) {
    const std::size_t rest = std::min(lanes, count - i);
    totals.add_run(
        1, [&](std::size_t) { return load_some(a + i, rest); },
        [&](std::size_t) { return load_some(b + i, rest); }, no_limit());
  }
}

struct BlockCounts {
  std::uint64_t changed = 0;
  std::uint64_t saturated = 0;
};

template <typename T>
BlockCounts compare_along(const T* a, const T* b, std::size_t blocks, const float* limits,
                          Totals& totals) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  BlockCounts counts;
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t first = block * kRun;
    const RunOutcome outcome = totals.add_run(
        kRun / lanes, [&](std::size_t i) { return load(a + first + i * lanes); },
        [&](std::size_t i) { return load(b + first + i * lanes); },
        limits == nullptr ? no_limit() : hn::Set(d, limits[block]));
    counts.changed += hn::AllFalse(d, outcome.differs) ? 0 : 1;
    counts.saturated += hn::AllFalse(d, outcome.beyond) ? 0 : 1;
  }
  return counts;
}

// Compares as many blocks side by side as a vector has lanes; lanes without a block hold zeros.
template <typename T>
BlockCounts compare_across(const Pair& pair, const float* limits, Totals& totals) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t length = pair.length;
  BlockCounts counts;
  const auto add = [&](const RunOutcome& outcome) {
    counts.changed += hn::CountTrue(d, outcome.differs);
    counts.saturated += hn::CountTrue(d, outcome.beyond);
  };
  for (std::size_t line = 0; line < pair.lines; line += kRun) {
    for (std::size_t column = 0; column < length; column += lanes) {
      const std::size_t count = std::min(lanes, length - column);
      const T* a = reinterpret_cast<const T*>(pair.a) + line * length + column;
      const T* b = reinterpret_cast<const T*>(pair.b) + line * length + column;
      const float* here = limits == nullptr ? nullptr : limits + line / kRun * length + column;
      if (count == lanes) {
        add(totals.add_run(
            kRun, [&](std::size_t i) { return load(a + i * length); },
            [&](std::size_t i) { return load(b + i * length); },
            here == nullptr ? no_limit() : load(here)));
      } else {
        add(totals.add_run(
            kRun, [&](std::size_t i) { return load_some(a + i * length, count); },
            [&](std::size_t i) { return load_some(b + i * length, count); },
            here == nullptr ? no_limit() : load_some(here, count)));
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

// The signal of weights that are the same on both sides.
template <typename T>
double signal_as(const std::byte* weights, std::size_t count) {
  const T* in = reinterpret_cast<const T*>(weights);
  const std::size_t lanes = hn::Lanes(D());
  Squares squares;
  std::size_t i = 0;
  for (; i + kRun <= count; i += kRun) {
    V run = hn::Zero(D());
    for (std::size_t j = 0; j < kRun; j += lanes) {
      const V values = load(in + i + j);
      run = hn::MulAdd(values, values, run);
    }
    squares.add_run(run);
  }
  for (; i < count; ++i) {
    const V weight = load_some(in + i, 1);
    squares.add_run(hn::Mul(weight, weight));
  }
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

}  // namespace mxferry::internal::dense::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::internal::dense {

HWY_EXPORT(compare_here);
HWY_EXPORT(signal_here);

namespace {

// Computes the sums of squares in FP64, for when FP32 is not enough.
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
  // If squares left the range of FP32, or some weight is not finite, compare() must decide.
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

}  // namespace mxferry::internal::dense
#endif  // HWY_ONCE
