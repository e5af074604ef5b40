// Widens FP16 to FP32. Included once per target.

#include <cstdint>

#include "hwy/highway.h"

#if defined(MXFERRY_DENSE_WIDEN_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_DENSE_WIDEN_INL_H
#undef MXFERRY_DENSE_WIDEN_INL_H
#else
#define MXFERRY_DENSE_WIDEN_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::HWY_NAMESPACE {

// Converts the bits of an FP16 number in each lane to the bits of the same number in FP32. Does not
// depend on whether the processor flushes subnormal numbers.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V widen_half(D d, V bits) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> d_signed;
  const hn::RebindToFloat<D> d_float;
  const auto less = [&](V a, V b) {
    return hn::RebindMask(d, hn::Lt(hn::BitCast(d_signed, a), hn::BitCast(d_signed, b)));
  };
  constexpr std::uint32_t kInfinity16 = 0x7C00;
  constexpr std::uint32_t kFirstNormal16 = 0x0400;
  const V magnitude = hn::And(bits, hn::Set(d, 0x7FFFu));
  const V sign = hn::ShiftLeft<16>(hn::Xor(bits, magnitude));
  const V shifted = hn::ShiftLeft<13>(magnitude);
  // The exponent biases differ by 112; infinity and NaN need twice that.
  const V normal = hn::Add(shifted, hn::Set(d, 112u << 23));
  const V nonfinite = hn::Add(shifted, hn::Set(d, 224u << 23));
  // A subnormal is read as the mantissa of a number at 2^-14, which is then subtracted.
  const V offset = hn::Set(d, 113u << 23);
  const V subnormal = hn::BitCast(
      d, hn::Sub(hn::BitCast(d_float, hn::Add(shifted, offset)), hn::BitCast(d_float, offset)));
  const V finite = hn::IfThenElse(less(magnitude, hn::Set(d, kFirstNormal16)), subnormal, normal);
  return hn::Or(sign, hn::IfThenElse(less(magnitude, hn::Set(d, kInfinity16)), finite, nonfinite));
}

}  // namespace mxferry::internal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
