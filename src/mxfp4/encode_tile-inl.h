// Quantizes a tile: one block from each of 32 rows, with rows as the lanes of vectors. Included
// once per target.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "dense/slices-inl.h"
#include "hwy/highway.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/encode_panel-inl.h"
#include "mxfp4/quant_table.h"
#include "mxfp4/rows_ahead.h"

#if defined(MXFERRY_MXFP4_ENCODE_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_MXFP4_ENCODE_TILE_INL_H
#undef MXFERRY_MXFP4_ENCODE_TILE_INL_H
#else
#define MXFERRY_MXFP4_ENCODE_TILE_INL_H
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

using namespace mxferry::internal::HWY_NAMESPACE;  // slices-inl.h

inline constexpr std::size_t kEncodeRows = 32;
inline constexpr std::size_t kEncodeStripRows = 8 * kSlices;

// The weights of a tile as 16-bit patterns: BF16, with the lowest bit set if the source had further
// nonzero bits. Quantizing only asks how weights compare with numbers of few bits, and with this
// "sticky" bit the answer is exact.
struct StagedTile {
  alignas(64) std::uint16_t weights[kBlockSize][kEncodeRows];
};

// Requests the source data that will be staged later.
using SourceAhead = RowsAhead<kAheadLocality>;

// A bit for each row of a tile.
using RowBits = std::uint32_t;

struct TileOutcome {
  RowBits kept = 0;        // keeps the reference's scale
  RowBits saturated = 0;   // some weight is beyond 6 * scale
  RowBits suspicious = 0;  // some weight is not finite, or at least 1.75 * 2^127
  RowBits tiny = 0;        // not encoded: too small for the arithmetic here
};

// The smallest scale whose quarter is a normal BF16 number.
inline constexpr std::uint8_t kLeastVectorScale = 3;
inline constexpr std::uint16_t kMagnitude = 0x7FFF;
inline constexpr int kMantissaBits = 7;  // of BF16

// Patterns are compared by their difference from a quarter of the scale. The exponent field of a
// difference is 0 for weights in [0.25, 0.5) * scale, 4 for [4, 8) * scale. Differences of
// magnitudes that are exactly a value of E2M1:
//   0.5: 0x080   1: 0x100   1.5: 0x140   2: 0x180   3: 0x1C0   4: 0x200   6: 0x240
inline constexpr std::uint16_t kDifferenceOfHalf = 0x080;
inline constexpr std::uint16_t kDifferenceOfThreeQuarters = 0x0C0;
inline constexpr std::uint16_t kDifferenceOfSix = 0x240;

HWY_INLINE V16 set16(std::uint16_t value) {
  return hn::Set(D16(), value);
}

HWY_INLINE V16 quarter_of(V16 scales) {
  return hn::ShiftLeft<kMantissaBits>(hn::SaturatedSub(scales, set16(2)));
}

template <class Mask>
HWY_INLINE RowBits row_bits(Mask mask) {
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(D16(), mask, bytes);
  RowBits bits = 0;
  for (std::size_t i = 0; i < kSlices; ++i) bits |= RowBits{bytes[i]} << 8 * i;
  return bits;
}

// The amount to add to a maximum so that its exponent field is the scale's plus 2.
HWY_INLINE std::uint16_t round_up(ScaleRule rule) {
  switch (rule) {
    case ScaleRule::floor:
      return 0;
    case ScaleRule::even:
      return 0x20;
    default:
      return 0x3F;
  }
}

HWY_INLINE V16 scales_of(V16 maxima, ScaleRule rule, const QuantRow& row) {
  const V16 exponents = hn::ShiftRight<kMantissaBits>(hn::Add(maxima, set16(round_up(rule))));
  const V16 scales = hn::SaturatedSub(exponents, set16(2));
  return hn::Max(hn::Min(scales, set16(row.most_scale)), set16(row.least_scale));
}

// Combines two inputs of the same rows into one vector: the first in the low byte of every lane.
HWY_INLINE V16 interleave(V16 low, V16 high) {
  return hn::Or(low, hn::ShiftLeft<8>(high));
}

// The codes of magnitudes, for pairs of inputs as in interleave(). Under round-to-nearest-even, bit
// 6 of a difference says whether the tie below it rounds up. After that rounding, codes 1 to 7
// begin at the multiples 1, 7, 10, 12, 14, 16 and 18 of 32.
HWY_INLINE V8 codes_of(V16 low, V16 high) {
  const auto steps = [](V16 difference) {
    const V16 odd = hn::And(hn::ShiftRight<6>(difference), set16(1));
    return hn::ShiftRight<5>(hn::Add(hn::Add(difference, set16(31)), odd));
  };
  constexpr std::uint16_t kMostDifference = 0x3FF;  // its step fits into a byte
  const D8 d8;
  const V16 most = set16(kMostDifference);
  const V8 step =
      hn::BitCast(d8, interleave(steps(hn::Min(low, most)), steps(hn::Min(high, most))));
  alignas(16) static constexpr std::uint8_t kCodes[16] = {1, 1, 1, 1, 2, 2, 2, 3,
                                                          3, 4, 4, 5, 5, 6, 6, 7};
  const V8 index = hn::Min(hn::SaturatedSub(step, hn::Set(d8, 3)), hn::Set(d8, 15));
  // Only step 0 is code 0.
  return hn::Min(step, hn::TableLookupBytes(hn::LoadDup128(d8, kCodes), index));
}

// A strip of a tile: as many rows as a vector of patterns has lanes.
class Strip {
 public:
  HWY_INLINE Strip(const StagedTile& tile, std::size_t first_row)
      : weights_(tile.weights[0] + first_row) {
    maxima_ = hn::Zero(D16());
    for (std::size_t i = 0; i < kBlockSize; ++i) maxima_ = hn::Max(maxima_, magnitude(i));
  }

  HWY_INLINE V16 maxima() const { return maxima_; }
  HWY_INLINE V16 weight(std::size_t input) const {
    return hn::Load(D16(), weights_ + input * kEncodeRows);
  }
  HWY_INLINE V16 magnitude(std::size_t input) const {
    return hn::And(weight(input), set16(kMagnitude));
  }

  // The rows in which all weights are values of E2M1 times the scale, which is at least
  // kLeastVectorScale.
  HWY_INLINE hn::Mask<D16> exact_under(V16 scales) const {
    const V16 quarter = quarter_of(scales);
    V16 wrong = hn::Zero(D16());
    for (std::size_t i = 0; i < kBlockSize; ++i) {
      const V16 bits = magnitude(i);
      const V16 difference = hn::SaturatedSub(bits, quarter);
      const V16 below = hn::SaturatedSub(set16(kDifferenceOfHalf), difference);
      const V16 above = hn::SaturatedSub(difference, set16(kDifferenceOfSix));
      const V16 between = hn::And(difference, set16(0x3F));
      const V16 hole =
          hn::VecFromMask(D16(), hn::Eq(difference, set16(kDifferenceOfThreeQuarters)));
      const V16 is_wrong = hn::Or(hn::Or(below, above), hn::Or(between, hole));
      wrong = hn::Or(wrong, hn::IfThenZeroElse(hn::Eq(bits, hn::Zero(D16())), is_wrong));
    }
    return hn::Eq(wrong, hn::Zero(D16()));
  }

  // Writes the strip's blocks under these scales, EncodedPanel::kRowBytes apart. Lanes with a scale
  // below kLeastVectorScale get garbage, except for rows of zeros. Requests `lines` lines that will
  // be read later, spread over the work: in one burst they would wait for each other.
  HWY_INLINE void quantize(V16 scales, std::uint8_t* blocks, SourceAhead& ahead,
                           std::size_t lines) const {
    const V16 quarter = quarter_of(scales);
    V16 pairs[8];
    for (std::size_t i = 0; i < 8; ++i) {
      for (std::size_t line = 0; line < lines; line += 8) ahead.request_line();
      const V16 first = block_byte(4 * i, quarter);
      pairs[i] = interleave(first, block_byte(4 * i + 2, quarter));
    }
    transpose_slices(D16(), pairs);
    for (std::size_t i = 0; i < 8; ++i) {
      store_slices(hn::BitCast(D8(), pairs[i]), D8(), [&](std::size_t slice) {
        return blocks + (8 * slice + i) * EncodedPanel::kRowBytes;
      });
    }
  }

 private:
  // For every row, the byte that holds inputs `input` and `input` + 1, in 16 bits.
  HWY_INLINE V16 block_byte(std::size_t input, V16 quarter) const {
    const V16 low = weight(input);
    const V16 high = weight(input + 1);
    const V16 mask = set16(kMagnitude);
    const V16 codes = hn::BitCast(D16(), codes_of(hn::SaturatedSub(hn::And(low, mask), quarter),
                                                  hn::SaturatedSub(hn::And(high, mask), quarter)));
    const V16 low_sign = hn::And(hn::ShiftRight<12>(low), set16(0x08));
    const V16 high_sign = hn::And(hn::ShiftRight<8>(high), set16(0x80));
    const V16 low_code = hn::And(codes, set16(0x07));
    return hn::Or(hn::Or(low_code, hn::ShiftRight<4>(hn::AndNot(set16(0xFF), codes))),
                  hn::Or(low_sign, high_sign));
  }

  const std::uint16_t* weights_;
  V16 maxima_;
};

// Encodes the rows of one strip into `panel`, from `place` on. `best` holds the scales of
// ScaleRule::least_error and is null for other rules; `reference` holds the reference's scales, or
// is null. Requests lines_ahead lines.
inline void encode_strip(const StagedTile& tile, std::size_t first_row, const QuantRow& row,
                         const std::uint16_t* best, const std::uint16_t* reference,
                         SourceAhead& ahead, std::size_t lines_ahead, PanelPlace place,
                         EncodedPanel& panel, TileOutcome& outcome) {
  const D16 d16;
  const Strip strip(tile, first_row);
  const V16 maxima = strip.maxima();
  const auto is_zero = hn::Eq(maxima, hn::Zero(d16));
  V16 scales = best != nullptr ? hn::LoadU(d16, best) : scales_of(maxima, row.scale, row);
  scales = hn::IfThenElse(is_zero, set16(row.zero_block), scales);
  // Unsigned comparison by saturation: older instruction sets lack the real one.
  const auto less = [&](V16 a, V16 b) { return hn::Ne(hn::SaturatedSub(b, a), hn::Zero(d16)); };
  const V16 least = set16(kLeastVectorScale);
  auto is_small = less(scales, least);
  auto is_kept = hn::Ne(maxima, maxima);
  if (reference != nullptr) {
    const V16 wanted = hn::LoadU(d16, reference);
    const auto is_number = hn::Ne(wanted, set16(255));
    const auto small_reference = less(wanted, least);
    is_kept =
        hn::And(is_number, hn::Or(is_zero, hn::AndNot(small_reference, strip.exact_under(wanted))));
    scales = hn::IfThenElse(is_kept, wanted, scales);
    is_small = hn::AndNot(is_kept, hn::Or(is_small, small_reference));
  }
  strip.quantize(scales, panel.blocks[place.row] + place.group * kBlockBytes, ahead, lines_ahead);
  const hn::Half<D8> d_bytes;
  const hn::RebindToSigned<D16> d_signed;
  hn::Store(hn::DemoteTo(d_bytes, hn::BitCast(d_signed, scales)), d_bytes,
            panel.scales[place.group] + place.row);
  const V16 beyond =
      hn::SaturatedSub(hn::SaturatedSub(maxima, quarter_of(scales)), set16(kDifferenceOfSix));
  constexpr std::uint16_t kFirstSuspicious = 0x7F60;  // 1.75 * 2^127
  outcome.saturated |= row_bits(hn::Ne(beyond, hn::Zero(d16))) << first_row;
  outcome.kept |= row_bits(is_kept) << first_row;
  outcome.suspicious |= row_bits(less(set16(kFirstSuspicious - 1), maxima)) << first_row;
  outcome.tiny |= row_bits(hn::AndNot(is_zero, is_small)) << first_row;
}

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
