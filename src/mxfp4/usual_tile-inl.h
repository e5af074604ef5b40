// Decodes and transposes a tile with scales from the middle of the range, where a weight is its
// code's pattern with the scale added to the exponent. Rows become elements of vectors first, while
// a weight still is half a byte. Included once per target.

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"
#include "mxfp4/emit-inl.h"
#include "mxfp4/tables.h"

#if defined(MXFERRY_MXFP4_USUAL_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_MXFP4_USUAL_TILE_INL_H
#undef MXFERRY_MXFP4_USUAL_TILE_INL_H
#else
#define MXFERRY_MXFP4_USUAL_TILE_INL_H
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace mxferry::mxfp4::HWY_NAMESPACE {

inline constexpr std::size_t kStripRows = 16 * kSlices;  // a byte of each in a vector

// Of a decode to BF16, or to FP32 by way of it. No product is subnormal or infinite.
struct UsualBf16 {
  static constexpr std::uint8_t kLeastScale = 2;
  static constexpr std::uint8_t kMostScale = 252;

  V16 exponents[2];  // to be added, of the lower and upper half of every slice
  V8 low_bytes;
  V8 high_bytes;

  explicit HWY_INLINE UsualBf16(V8 scales)
      : low_bytes(hn::LoadDup128(D8(), kBf16Tables[kScaleBias].low.data())),
        high_bytes(hn::LoadDup128(D8(), kBf16Tables[kScaleBias].high.data())) {
    const V8 zero = hn::Zero(D8());
    const V16 bias = hn::Set(D16(), kScaleBias << 7);
    const V16 lower = hn::BitCast(D16(), hn::InterleaveLower(D8(), zero, scales));
    const V16 upper = hn::BitCast(D16(), hn::InterleaveUpper(D8(), zero, scales));
    exponents[0] = hn::Sub(hn::ShiftRight<1>(lower), bias);
    exponents[1] = hn::Sub(hn::ShiftRight<1>(upper), bias);
  }

  HWY_INLINE V16 scale(V16 pattern, int half) const {
    const auto is_zero = hn::Eq(hn::Add(pattern, pattern), hn::Zero(D16()));
    return hn::Add(pattern, hn::IfThenZeroElse(is_zero, exponents[half]));
  }

  template <typename T, bool kStream>
  HWY_INLINE void decode(V8 codes, T* out) const {
    const V8 low = hn::TableLookupBytes(low_bytes, codes);
    const V8 high = hn::TableLookupBytes(high_bytes, codes);
    const V16 lower = hn::BitCast(D16(), hn::InterleaveLower(D8(), low, high));
    const V16 upper = hn::BitCast(D16(), hn::InterleaveUpper(D8(), low, high));
    emit<T, kStream>(scale(lower, 0), out);
    emit<T, kStream>(scale(upper, 1), out + 8 * kSlices);
  }
};

// Of a decode to FP16. Every product is a normal number, whose low byte is zero.
struct UsualF16 {
  static constexpr std::uint8_t kLeastScale = 114;
  static constexpr std::uint8_t kMostScale = 140;

  V8 exponents;  // to be added to the high byte
  V8 high_bytes;
  V8 nonzero;

  explicit HWY_INLINE UsualF16(V8 scales)
      : exponents(hn::ShiftLeft<2>(hn::Sub(scales, hn::Set(D8(), kScaleBias)))),
        high_bytes(hn::LoadDup128(D8(), kF16Tables[kScaleBias].high.data())) {
    nonzero = hn::VecFromMask(D8(), hn::Ne(hn::Add(high_bytes, high_bytes), hn::Zero(D8())));
  }

  template <typename T, bool kStream>
  HWY_INLINE void decode(V8 codes, T* out) const {
    const V8 zero = hn::Zero(D8());
    const V8 mask = hn::TableLookupBytes(nonzero, codes);
    const V8 high = hn::Add(hn::TableLookupBytes(high_bytes, codes), hn::And(mask, exponents));
    emit<T, kStream>(hn::BitCast(D16(), hn::InterleaveLower(D8(), zero, high)), out);
    emit<T, kStream>(hn::BitCast(D16(), hn::InterleaveUpper(D8(), zero, high)), out + 8 * kSlices);
  }
};

// The bytes of kStripRows rows of one column of 16, as vectors: bytes[j] is byte j of every row, in
// the order of element_at<T>().
template <typename T>
HWY_INLINE void load_columns(const std::uint8_t* in, std::size_t row_bytes, V8 (&bytes)[16]) {
  for (std::size_t i = 0; i < 16; ++i) {
    bytes[i] = load_slices(
        D8(), [&](std::size_t slice) { return in + element_at<T>(slice, i) * row_bytes; });
  }
  transpose_slices(D8(), bytes);
}

// Whether all of the scales of a strip are such that Usual decodes them.
template <class Usual>
HWY_INLINE bool are_usual(V8 scales) {
  const D8 d8;
  const V8 below = hn::SaturatedSub(hn::Set(d8, Usual::kLeastScale), scales);
  const V8 above = hn::SaturatedSub(scales, hn::Set(d8, Usual::kMostScale));
  return hn::AllTrue(d8, hn::Eq(hn::Or(below, above), hn::Zero(d8)));
}

// One strip of a tile; `scales` in the order of load_columns().
template <class Usual, typename T, bool kStream>
HWY_INLINE void transpose_usual_strip(const std::uint8_t* blocks, std::size_t block_row_bytes,
                                      V8 scales, T* out, std::size_t out_row_stride) {
  V8 bytes[16];
  load_columns<T>(blocks, block_row_bytes, bytes);
  const Usual usual(scales);
  for (std::size_t i = 0; i < 16; ++i) {
    usual.template decode<T, kStream>(hn::And(bytes[i], hn::Set(D8(), 15)),
                                      out + 2 * i * out_row_stride);
    usual.template decode<T, kStream>(hn::ShiftRight<4>(bytes[i]),
                                      out + (2 * i + 1) * out_row_stride);
  }
}

}  // namespace mxferry::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
