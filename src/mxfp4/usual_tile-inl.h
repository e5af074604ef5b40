// Decodes and transposes a tile with scales from the middle of the range, where a weight is its
// code's pattern with the scale added to the exponent. Rows are transposed first, while a weight is
// still half a byte. Included once per target.

#include <algorithm>
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
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

inline constexpr std::size_t kStripRows = 16 * kSlices;  // one byte of each per vector

// Shifts within 16-bit lanes: the low bits of an upper byte come from the byte before it.
template <int kBits>
HWY_INLINE V8 shift_left(V8 bytes) {
  return hn::BitCast(D8(), hn::ShiftLeft<kBits>(hn::BitCast(D16(), bytes)));
}

// High bytes in the tables have this much added, except that of code 0, which stays 0. A saturating
// subtraction then adds the scale to the exponent and leaves zeros alone.
inline constexpr int kHighBias = 128;

// The byte tables of the magnitudes in `table`, with high bytes biased, less `added`.
constexpr ScaleTable bias_magnitudes(const ScaleTable& table, int added) {
  ScaleTable biased{};
  for (std::size_t code = 1; code < 8; ++code) {
    biased.low[code] = table.low[code];
    biased.high[code] = static_cast<std::uint8_t>(table.high[code] + kHighBias - added);
  }
  return biased;
}

// Sets the sign, bit 7 of every byte, from `signs`.
HWY_INLINE V8 with_sign(V8 magnitudes, V8 signs) {
  return hn::OrAnd(magnitudes, signs, hn::Set(D8(), 0x80));
}

// Writes 16-bit patterns, given as low and high bytes.
template <typename T, bool kStream>
HWY_INLINE void emit_bytes(V8 low, V8 high, T* out) {
  emit<T, kStream>(hn::BitCast(D16(), hn::InterleaveLower(D8(), low, high)), out);
  emit<T, kStream>(hn::BitCast(D16(), hn::InterleaveUpper(D8(), low, high)), out + 8 * kSlices);
}

// Decodes to BF16, or through BF16 to FP32. No product is subnormal or infinite. The lowest bit of
// an exponent is in the low byte, so odd scales have their own tables.
struct UsualBf16 {
  static constexpr std::uint8_t kLeastScale = 2;
  static constexpr std::uint8_t kMostScale = 252;

  // Magnitudes under scales 126 and 127, less the 63 that half of either scale adds to the high
  // byte.
  alignas(16) static constexpr ScaleTable kTable = [] {
    ScaleTable both = bias_magnitudes(kBf16Tables[126], 63);
    const ScaleTable odd = bias_magnitudes(kBf16Tables[127], 63);
    std::copy_n(odd.low.begin(), 8, both.low.begin() + 8);
    std::copy_n(odd.high.begin(), 8, both.high.begin() + 8);
    return both;
  }();

  V8 odd;   // 8, the offset of the second tables, if the scale is odd
  V8 less;  // subtracted from the high byte
  V8 low_bytes;
  V8 high_bytes;

  explicit HWY_INLINE UsualBf16(V8 scales)
      : odd(hn::And(shift_left<3>(scales), hn::Set(D8(), 8))),
        less(hn::Sub(hn::Set(D8(), kHighBias), hn::ShiftRight<1>(scales))),
        low_bytes(hn::LoadDup128(D8(), kTable.low.data())),
        high_bytes(hn::LoadDup128(D8(), kTable.high.data())) {}

  // `bits` has the codes' magnitudes in bits 0 to 2, `signs` their signs in bit 7.
  template <typename T, bool kStream>
  HWY_INLINE void decode(V8 bits, V8 signs, T* out) const {
    const V8 codes = hn::OrAnd(odd, bits, hn::Set(D8(), 7));
    const V8 low = hn::TableLookupBytes(low_bytes, codes);
    const V8 high = hn::SaturatedSub(hn::TableLookupBytes(high_bytes, codes), less);
    emit_bytes<T, kStream>(low, with_sign(high, signs), out);
  }
};

// Decodes to FP16. Every product is a normal number whose low byte is zero.
struct UsualF16 {
  static constexpr std::uint8_t kLeastScale = 114;
  static constexpr std::uint8_t kMostScale = 140;

  alignas(16) static constexpr ScaleTable kTable = bias_magnitudes(kF16Tables[kScaleBias], 0);

  V8 less;  // subtracted from the high byte
  V8 high_bytes;

  explicit HWY_INLINE UsualF16(V8 scales)
      : less(shift_left<2>(hn::Sub(hn::Set(D8(), kScaleBias + kHighBias / 4), scales))),
        high_bytes(hn::LoadDup128(D8(), kTable.high.data())) {}

  template <typename T, bool kStream>
  HWY_INLINE void decode(V8 bits, V8 signs, T* out) const {
    const V8 codes = hn::And(bits, hn::Set(D8(), 7));
    const V8 high = hn::SaturatedSub(hn::TableLookupBytes(high_bytes, codes), less);
    emit_bytes<T, kStream>(hn::Zero(D8()), with_sign(high, signs), out);
  }
};

// Loads 16 adjacent bytes from each of kStripRows rows: bytes[j] is byte j of every row, in the
// order of element_at<T>().
template <typename T>
HWY_INLINE void load_columns(const std::uint8_t* in, std::size_t row_bytes, V8 (&bytes)[16]) {
  for (std::size_t i = 0; i < 16; ++i) {
    bytes[i] = load_slices(
        D8(), [&](std::size_t slice) { return in + element_at<T>(slice, i) * row_bytes; });
  }
  transpose_slices(D8(), bytes);
}

// Whether Usual can decode all of a strip's scales.
template <class Usual>
HWY_INLINE bool are_usual(V8 scales) {
  const D8 d8;
  const V8 below = hn::SaturatedSub(hn::Set(d8, Usual::kLeastScale), scales);
  const V8 above = hn::SaturatedSub(scales, hn::Set(d8, Usual::kMostScale));
  return hn::AllTrue(d8, hn::Eq(hn::Or(below, above), hn::Zero(d8)));
}

// Decodes and transposes a strip of a tile; `scales` are in the order of load_columns().
template <class Usual, typename T, bool kStream>
HWY_INLINE void transpose_usual_strip(const std::uint8_t* blocks, std::size_t block_row_bytes,
                                      V8 scales, T* out, std::size_t out_row_stride) {
  V8 bytes[16];
  load_columns<T>(blocks, block_row_bytes, bytes);
  const Usual usual(scales);
  for (std::size_t i = 0; i < 16; ++i) {
    const V8 even = bytes[i];
    usual.template decode<T, kStream>(even, shift_left<4>(even), out + 2 * i * out_row_stride);
    const V8 odd = hn::BitCast(D8(), hn::ShiftRight<4>(hn::BitCast(D16(), bytes[i])));
    usual.template decode<T, kStream>(odd, bytes[i], out + (2 * i + 1) * out_row_stride);
  }
}

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
