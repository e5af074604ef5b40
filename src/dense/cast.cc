#include <algorithm>
#include <cstring>

#include "dense/convert.h"
#include "dense/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dense/cast.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "dense/widen-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::dense::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Every cast goes through FP32. It uses integer arithmetic wherever the result could depend on the
// caller having set the processor to flush subnormal numbers: the only floating-point operations
// here have normal operands, or results that do not depend on that setting.
using D = hn::ScalableTag<std::uint32_t>;
using DSigned = hn::RebindToSigned<D>;
using DFloat = hn::RebindToFloat<D>;
using DHalf = hn::Rebind<std::uint16_t, D>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;

struct Bf16 {
  using Bits = std::uint16_t;
};
struct F16 {
  using Bits = std::uint16_t;
};
struct F32 {
  using Bits = std::uint32_t;
};

constexpr std::uint32_t kInfinity32 = 0x7F800000;
constexpr std::uint32_t kInfinity16 = 0x7C00;
constexpr std::uint32_t kSmallestNormal16 = 0x38800000;  // 2^-14 in FP32
constexpr std::uint32_t kHalf = 0x3F000000;              // 0.5, whose last place is 2^-24

HWY_INLINE V set(std::uint32_t value) {
  return hn::Set(D(), value);
}
HWY_INLINE hn::Vec<DFloat> as_float(V bits) {
  return hn::BitCast(DFloat(), bits);
}
HWY_INLINE V as_bits(hn::Vec<DFloat> value) {
  return hn::BitCast(D(), value);
}

// For numbers below 2^31, which is cheaper than for any number.
HWY_INLINE M less(V a, V b) {
  return hn::RebindMask(D(), hn::Lt(hn::BitCast(DSigned(), a), hn::BitCast(DSigned(), b)));
}
HWY_INLINE V smaller(V a, V b) {
  return hn::BitCast(D(), hn::Min(hn::BitCast(DSigned(), a), hn::BitCast(DSigned(), b)));
}

// Losses of one span, one counter per lane.
struct LaneLosses {
  V overflows;
  V underflows;
  V flushed;
};

HWY_INLINE void count(V& counter, M mask) {
  counter = hn::Sub(counter, hn::VecFromMask(D(), mask));
}

HWY_INLINE V widen(Bf16, V bits) {
  return hn::ShiftLeft<16>(bits);
}

HWY_INLINE V widen(F32, V bits) {
  return bits;
}

HWY_INLINE V widen(F16, V bits) {
  return mxferry::internal::HWY_NAMESPACE::widen_half(D(), bits);
}

HWY_INLINE V narrow(F32, V bits, LaneLosses&) {
  return bits;
}

HWY_INLINE V narrow(Bf16, V bits, LaneLosses& losses) {
  const V magnitude = hn::And(bits, set(0x7FFFFFFF));
  const V sign = hn::ShiftRight<16>(hn::Xor(bits, magnitude));
  const V upper = hn::ShiftRight<16>(magnitude);
  const V odd = hn::And(upper, set(1));
  const V rounded = hn::ShiftRight<16>(hn::Add(magnitude, hn::Add(set(0x7FFF), odd)));
  const M is_nan = less(set(kInfinity32), magnitude);
  const M is_finite = less(magnitude, set(kInfinity32));
  const M is_subnormal = less(magnitude, set(0x00800000));
  const M is_exact = hn::Eq(hn::ShiftLeft<16>(upper), magnitude);
  const M is_zero = hn::Eq(magnitude, hn::Zero(D()));
  count(losses.overflows, hn::And(is_finite, hn::Eq(rounded, set(kInfinity32 >> 16))));
  count(losses.underflows, hn::AndNot(is_exact, is_subnormal));
  count(losses.flushed, hn::AndNot(is_zero, hn::Eq(rounded, hn::Zero(D()))));
  return hn::Or(sign, hn::IfThenElse(is_nan, hn::Or(upper, set(0x40)), rounded));
}

HWY_INLINE V narrow(F16, V bits, LaneLosses& losses) {
  const V magnitude = hn::And(bits, set(0x7FFFFFFF));
  const V sign = hn::ShiftRight<16>(hn::Xor(bits, magnitude));
  const V upper = hn::ShiftRight<13>(magnitude);
  const V odd = hn::And(upper, set(1));
  const V rebiased = hn::Sub(magnitude, set(112u << 23));
  const V normal =
      smaller(hn::ShiftRight<13>(hn::Add(rebiased, hn::Add(set(0x0FFF), odd))), set(kInfinity16));
  // Adding a subnormal to 0.5 rounds it to a multiple of 2^-24, which ends up in the last place.
  const hn::Vec<DFloat> half = as_float(set(kHalf));
  const hn::Vec<DFloat> sum = hn::Add(as_float(magnitude), half);
  const V subnormal = hn::Sub(as_bits(sum), set(kHalf));
  const M is_nan = less(set(kInfinity32), magnitude);
  const M is_finite = less(magnitude, set(kInfinity32));
  const M is_subnormal = less(magnitude, set(kSmallestNormal16));
  const M is_exact = hn::Eq(as_bits(hn::Sub(sum, half)), magnitude);
  const M is_zero = hn::Eq(magnitude, hn::Zero(D()));
  const V rounded = hn::IfThenElse(is_subnormal, subnormal, normal);
  count(losses.overflows, hn::And(is_finite, hn::Eq(rounded, set(kInfinity16))));
  count(losses.underflows, hn::AndNot(is_exact, is_subnormal));
  count(losses.flushed, hn::AndNot(is_zero, hn::Eq(rounded, hn::Zero(D()))));
  const V quiet_nan = hn::Or(set(kInfinity16 | 0x0200), hn::And(upper, set(0x03FF)));
  return hn::Or(sign, hn::IfThenElse(is_nan, quiet_nan, rounded));
}

HWY_INLINE V load(const std::uint16_t* in) {
  return hn::PromoteTo(D(), hn::LoadU(DHalf(), in));
}
HWY_INLINE V load(const std::uint32_t* in) {
  return hn::LoadU(D(), in);
}

HWY_INLINE void store(V bits, std::uint16_t* out) {
  hn::StoreU(hn::DemoteTo(DHalf(), hn::BitCast(DSigned(), bits)), DHalf(), out);
}
HWY_INLINE void store(V bits, std::uint32_t* out) {
  hn::StoreU(bits, D(), out);
}

template <class From, class To>
HWY_INLINE void cast_vector(const typename From::Bits* in, typename To::Bits* out,
                            LaneLosses& losses) {
  store(narrow(To(), widen(From(), load(in)), losses), out);
}

std::size_t sum(V counters) {
  return hn::GetLane(hn::SumOfLanes(D(), counters));
}

struct SpanLosses {
  bool overflow;
  std::size_t underflows;
  std::size_t flushed;
};

// At most 2^31 elements.
template <class From, class To>
SpanLosses cast_span(const typename From::Bits* in, typename To::Bits* out, std::size_t count) {
  const std::size_t lanes = hn::Lanes(D());
  const V none = hn::Zero(D());
  LaneLosses losses{none, none, none};
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) cast_vector<From, To>(in + i, out + i, losses);
  if (i < count) {
    typename From::Bits last_in[hn::MaxLanes(D())] = {};
    typename To::Bits last_out[hn::MaxLanes(D())];
    std::copy(in + i, in + count, last_in);
    cast_vector<From, To>(last_in, last_out, losses);
    std::copy_n(last_out, count - i, out + i);
  }
  return {sum(losses.overflows) != 0, sum(losses.underflows), sum(losses.flushed)};
}

constexpr bool is_infinity(Bf16, std::uint32_t bits) {
  return (bits & 0x7FFF) == 0x7F80;
}
constexpr bool is_infinity(F16, std::uint32_t bits) {
  return (bits & 0x7FFF) == kInfinity16;
}
constexpr bool is_infinity(F32, std::uint32_t bits) {
  return (bits & 0x7FFFFFFF) == kInfinity32;
}

template <class From, class To>
Losses cast_all(const std::byte* in, std::byte* out, std::size_t count) {
  constexpr std::size_t kSpan = 1 << 16;
  const auto* typed_in = reinterpret_cast<const typename From::Bits*>(in);
  auto* typed_out = reinterpret_cast<typename To::Bits*>(out);
  Losses total;
  for (std::size_t begin = 0; begin < count; begin += kSpan) {
    const std::size_t end = std::min(count, begin + kSpan);
    const SpanLosses span = cast_span<From, To>(typed_in + begin, typed_out + begin, end - begin);
    total.underflows += span.underflows;
    total.flushed += span.flushed;
    if (!span.overflow || total.first_overflow) continue;
    std::size_t i = begin;
    while (!is_infinity(To(), typed_out[i]) || is_infinity(From(), typed_in[i])) ++i;
    total.first_overflow = i;
  }
  return total;
}

template <class From>
Losses cast_from(const std::byte* in, std::byte* out, DType to, std::size_t count) {
  if (to == DType::BF16) return cast_all<From, Bf16>(in, out, count);
  if (to == DType::F16) return cast_all<From, F16>(in, out, count);
  return cast_all<From, F32>(in, out, count);
}

Losses cast_here(const std::byte* in, DType from, std::byte* out, DType to, std::size_t count) {
  if (from == DType::BF16) return cast_from<Bf16>(in, out, to, count);
  if (from == DType::F16) return cast_from<F16>(in, out, to, count);
  return cast_from<F32>(in, out, to, count);
}

}  // namespace mxferry::internal::dense::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::internal::dense {

HWY_EXPORT(cast_here);

Losses cast(const std::byte* in, DType from, std::byte* out, DType to, std::size_t count) noexcept {
  if (count == 0) return {};
  if (from == to) {
    std::memcpy(out, in, count * static_cast<std::size_t>(bits(from)) / 8);
    return {};
  }
  return HWY_DYNAMIC_DISPATCH(cast_here)(in, from, out, to, count);
}

}  // namespace mxferry::internal::dense
#endif  // HWY_ONCE
