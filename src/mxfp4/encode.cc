#include "mxfp4/encode.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "dense/targets.h"
#include "mxfp4/encode_reference.h"
#include "mxfp4/quant_table.h"
#include "mxfp4/rows_ahead.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mxfp4/encode.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "dense/widen-inl.h"
#include "mxfp4/encode_panel-inl.h"
#include "mxfp4/encode_tile-inl.h"
#include "mxfp4/least_error-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

EncodeCounts encode_here(const DenseView& dense, const EncodeOptions& options,
                         const PackedTarget& target) {
  return reference::encode(dense, options, target);
}

#else

// A line is 32 adjacent elements of the source: one input of 32 rows, or the 32 inputs of a block
// in one row.
inline constexpr std::size_t kLine = 32;
static_assert(kLine == kEncodeRows && kLine == kBlockSize);

inline constexpr std::size_t kLanes32 = 4 * kSlices;
using V32 = hn::Vec<D32>;

struct Bf16Line {
  using Element = std::uint16_t;
  static constexpr bool kStagedExactly = true;

  static HWY_INLINE void patterns(const Element* in, std::uint16_t* out) {
    const D16 d16;
    for (std::size_t i = 0; i < kLine; i += hn::Lanes(d16)) {
      hn::Store(hn::LoadU(d16, in + i), d16, out + i);
    }
  }
  static HWY_INLINE V32 load(const Element* in) {
    const hn::Rebind<std::uint16_t, D32> d_half;
    return hn::ShiftLeft<16>(hn::PromoteTo(D32(), hn::LoadU(d_half, in)));
  }
};

// Goes through FP32: takes the upper half, and sets the lowest bit if the lower half is not zero.
template <class Line>
HWY_INLINE void sticky_patterns(const typename Line::Element* in, std::uint16_t* out) {
  const D16 d16;
  for (std::size_t i = 0; i < kLine; i += 2 * kLanes32) {
    const V16 first = hn::BitCast(d16, Line::load(in + i));
    const V16 second = hn::BitCast(d16, Line::load(in + i + kLanes32));
    const V16 upper = hn::ConcatOdd(d16, second, first);
    const V16 lower = hn::ConcatEven(d16, second, first);
    hn::Store(hn::Or(upper, hn::Min(lower, set16(1))), d16, out + i);
  }
}

struct F16Line {
  using Element = std::uint16_t;
  static constexpr bool kStagedExactly = false;

  static HWY_INLINE void patterns(const Element* in, std::uint16_t* out) {
    sticky_patterns<F16Line>(in, out);
  }
  static HWY_INLINE V32 load(const Element* in) {
    const hn::Rebind<std::uint16_t, D32> d_half;
#if HWY_CAP_GE256
    const hn::Rebind<hwy::float16_t, D32> d_float16;
    const hn::RebindToFloat<D32> d_float;
    return hn::BitCast(D32(),
                       hn::PromoteTo(d_float, hn::BitCast(d_float16, hn::LoadU(d_half, in))));
#else
    return widen_half(D32(), hn::PromoteTo(D32(), hn::LoadU(d_half, in)));
#endif
  }
};

struct F32Line {
  using Element = std::uint32_t;
  static constexpr bool kStagedExactly = false;

  static HWY_INLINE void patterns(const Element* in, std::uint16_t* out) {
    sticky_patterns<F32Line>(in, out);
  }
  static HWY_INLINE V32 load(const Element* in) { return hn::LoadU(D32(), in); }
};

template <class Line>
HWY_INLINE void magnitudes(const typename Line::Element* in, float* out) {
  for (std::size_t i = 0; i < kLine; i += kLanes32) {
    const V32 bits = hn::And(Line::load(in + i), hn::Set(D32(), 0x7FFFFFFFu));
    hn::Store(bits, D32(), reinterpret_cast<std::uint32_t*>(out + i));
  }
}

// Transposes a square of 32 x 32.
template <typename T>
HWY_INLINE void transpose_square(const T (&in)[kLine][kLine], T (&out)[kLine][kLine]) {
  const hn::Repartition<T, D8> d;
  constexpr std::size_t kSide = 16 / sizeof(T);
  for (std::size_t row = 0; row < kLine; row += kSide * kSlices) {
    for (std::size_t column = 0; column < kLine; column += kSide) {
      hn::Vec<decltype(d)> square[kSide];
      for (std::size_t i = 0; i < kSide; ++i) {
        square[i] =
            load_slices(d, [&](std::size_t slice) { return in[row + kSide * slice + i] + column; });
      }
      transpose_slices(d, square);
      for (std::size_t i = 0; i < kSide; ++i) hn::Store(square[i], d, out[column + i] + row);
    }
  }
}

// The lines of one tile of a matrix.
template <class Line>
class Lines {
 public:
  using Element = typename Line::Element;

  Lines(const DenseView& dense, std::size_t row, std::size_t column, std::size_t rows)
      : transposed_(dense.order == Order::transposed),
        stride_(dense.stride),
        count_(transposed_ ? kLine : rows),
        length_(transposed_ ? rows : kLine),
        first_(reinterpret_cast<const Element*>(dense.data) +
               (transposed_ ? column * stride_ + row : row * stride_ + column)) {}

  // Whether lines are inputs rather than rows.
  bool transposed() const { return transposed_; }

  // Calls visit(i, line) with 32 elements for every line, padded with zeros outside the matrix.
  template <class Visit>
  HWY_INLINE void for_each(const Visit& visit) const {
    Element padded[kLine] = {};
    for (std::size_t i = 0; i < kLine; ++i) {
      const Element* line = first_ + i * stride_;
      if (i < count_ && length_ == kLine) {
        visit(i, line);
        continue;
      }
      if (i < count_) std::memcpy(padded, line, length_ * sizeof(Element));
      if (i == count_) std::memset(padded, 0, sizeof(padded));
      visit(i, static_cast<const Element*>(padded));
    }
  }

 private:
  bool transposed_;
  std::size_t stride_;
  std::size_t count_;
  std::size_t length_;
  const Element* first_;
};

template <class Line>
HWY_INLINE void stage(const Lines<Line>& lines, StagedTile& tile) {
  if (lines.transposed()) {
    lines.for_each([&](std::size_t i, const auto* in) { Line::patterns(in, tile.weights[i]); });
    return;
  }
  alignas(64) std::uint16_t rows[kLine][kLine];
  lines.for_each([&](std::size_t i, const auto* in) { Line::patterns(in, rows[i]); });
  transpose_square(rows, tile.weights);
}

template <class Line>
void stage(const Lines<Line>& lines, ExactTile& tile) {
  if (lines.transposed()) {
    lines.for_each(
        [&](std::size_t i, const auto* in) { magnitudes<Line>(in, tile.magnitudes[i]); });
    return;
  }
  alignas(64) float rows[kLine][kLine];
  lines.for_each([&](std::size_t i, const auto* in) { magnitudes<Line>(in, rows[i]); });
  transpose_square(rows, tile.magnitudes);
}

// Quantizes a matrix tile by tile.
template <class Line>
class Encoder {
 public:
  Encoder(const DenseView& dense, const EncodeOptions& options, const PackedTarget& target)
      : dense_(dense),
        options_(options),
        target_(target),
        row_(reference::row_of(options)),
        groups_(dense.columns / kBlockSize) {}

  EncodeCounts run() {
    Band band = band_at(0, 0);
    ahead_ = requests_for(band);
    while (!ahead_.done()) ahead_.request_line();
    while (band.rows != 0) {
      const Band next = after(band);
      ahead_ = requests_for(next);
      encode_band(band);
      if (ends_panel(band)) write_panel_of(band);
      band = next;
    }
    counts_.blocks = dense_.rows * groups_;
    return counts_;
  }

 private:
  // The unit of reading, chosen so that the source's lines are requested in long pieces: a few
  // groups of many rows if it is transposed, else many groups of 32 rows. While one band is
  // encoded, the next is requested; both stay in the second-level cache. Several bands that differ
  // only in their groups make up a panel.
  struct Band {
    std::size_t row = 0;
    std::size_t group = 0;
    std::size_t rows = 0;  // 0 past the last band
    std::size_t groups = 0;
  };

  bool transposed() const { return dense_.order == Order::transposed; }

  Band band_at(std::size_t row, std::size_t group) const {
    // A panel is a whole number of bands.
    constexpr std::size_t kTransposedGroups = kPanelGroups / 24;
    constexpr std::size_t kStraightGroups = kPanelGroups / 2;
    const std::size_t most_groups = transposed() ? kTransposedGroups : kStraightGroups;
    const std::size_t most_rows = transposed() ? kPanelRows : kEncodeRows;
    return {row, group, std::min(most_rows, dense_.rows - row),
            std::min(most_groups, groups_ - group)};
  }

  // The next band: all groups of some rows come before the next rows.
  Band after(const Band& band) const {
    if (band.group + band.groups < groups_) return band_at(band.row, band.group + band.groups);
    return band_at(band.row + band.rows, 0);
  }

  SourceAhead requests_for(const Band& band) const {
    if (band.rows == 0) return {nullptr, 0, 0, 0};
    const std::size_t size = sizeof(typename Line::Element);
    const std::size_t columns = band.groups * kBlockSize;
    const std::size_t column = band.group * kBlockSize;
    const std::size_t first =
        transposed() ? column * dense_.stride + band.row : band.row * dense_.stride + column;
    return {reinterpret_cast<const std::uint8_t*>(dense_.data) + first * size, dense_.stride * size,
            (transposed() ? band.rows : columns) * size, transposed() ? columns : band.rows};
  }

  void encode_band(const Band& band) {
    for (std::size_t row = 0; row < band.rows; row += kEncodeRows) {
      for (std::size_t i = 0; i < band.groups; ++i) {
        encode_tile(band.row + row, band.group + i, {row, (band.group + i) % kPanelGroups});
      }
    }
  }

  bool ends_panel(const Band& band) const {
    const std::size_t end = band.group + band.groups;
    return end == groups_ || end % kPanelGroups == 0;
  }

  void write_panel_of(const Band& band) {
    const std::size_t group = band.group / kPanelGroups * kPanelGroups;
    PackedTarget target = target_;
    target.blocks += band.row * target.block_row_bytes + group * kBlockBytes;
    target.scales += band.row * target.scale_row_bytes + group;
    write_panel(panel_, band.rows, band.group + band.groups - group, target, options_.stores);
  }

  // Encodes up to 32 rows of a group into their place in the panel.
  HWY_INLINE void encode_tile(std::size_t row, std::size_t group, PanelPlace place) {
    TileOutcome outcome;
    const std::size_t rows = std::min(kEncodeRows, dense_.rows - row);
    const Lines<Line> lines(dense_, row, group * kBlockSize, rows);
    stage(lines, staged_);
    const bool chooses = row_.scale == ScaleRule::least_error;
    if (chooses && !Line::kStagedExactly) stage(lines, exact_);
    alignas(64) std::uint16_t reference[kEncodeRows] = {};
    const bool has_reference = options_.reference_scales != nullptr;
    if (has_reference) load_reference(row, rows, group, reference);
    constexpr std::size_t kTileLines = sizeof(typename Line::Element) * kLine * kLine / 64;
    constexpr std::size_t kStripLines = kTileLines * kEncodeStripRows / kEncodeRows;
    for (std::size_t strip = 0; strip < kEncodeRows; strip += kEncodeStripRows) {
      alignas(64) std::uint16_t best[kEncodeStripRows];
      if (chooses) choose_scales(strip, best);
      encode_strip(staged_, strip, row_, chooses ? best : nullptr,
                   has_reference ? reference + strip : nullptr, ahead_, kStripLines,
                   {place.row + strip, place.group}, panel_, outcome);
    }
    settle(outcome, row, rows, group, place);
  }

  HWY_INLINE void choose_scales(std::size_t strip, std::uint16_t* best) const {
    if constexpr (Line::kStagedExactly) {
      least_error_scales<float>(staged_, staged_, strip, row_, best);
    } else {
      least_error_scales<double>(staged_, exact_, strip, row_, best);
    }
  }

  void load_reference(std::size_t row, std::size_t rows, std::size_t group,
                      std::uint16_t* reference) const {
    const std::uint8_t* scales =
        options_.reference_scales + row * options_.reference_row_bytes + group;
    for (std::size_t i = 0; i < rows; ++i) reference[i] = scales[i * options_.reference_row_bytes];
  }

  // Counts a tile's outcome, and encodes the blocks that the kernel left out.
  HWY_INLINE void settle(const TileOutcome& outcome, std::size_t row, std::size_t rows,
                         std::size_t group, PanelPlace place) {
    const RowBits there = rows == kEncodeRows ? ~RowBits{0} : (RowBits{1} << rows) - 1;
    for (RowBits tiny = outcome.tiny & there; tiny != 0; tiny &= tiny - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(tiny));
      encode_tiny(row + i, group, {place.row + i, place.group});
    }
    const RowBits counted = there & ~outcome.tiny;
    counts_.kept += static_cast<std::uint64_t>(std::popcount(outcome.kept & counted));
    counts_.saturated += static_cast<std::uint64_t>(std::popcount(outcome.saturated & counted));
    counts_.suspicious |= (outcome.suspicious & there) != 0;
  }

  void encode_tiny(std::size_t row, std::size_t group, PanelPlace place) {
    DenseView block = dense_;
    const std::size_t column = group * kBlockSize;
    const std::size_t first =
        transposed() ? column * dense_.stride + row : row * dense_.stride + column;
    block.data += first * sizeof(typename Line::Element);
    block.rows = 1;
    block.columns = kBlockSize;
    EncodeOptions options = options_;
    if (options.reference_scales != nullptr) {
      options.reference_scales += row * options.reference_row_bytes + group;
    }
    PackedTarget target;
    target.blocks = panel_.blocks[place.row] + place.group * kBlockBytes;
    target.scales = panel_.scales[place.group] + place.row;
    const EncodeCounts counts = reference::encode(block, options, target);
    counts_.kept += counts.kept;
    counts_.saturated += counts.saturated;
  }

  const DenseView& dense_;
  const EncodeOptions& options_;
  const PackedTarget& target_;
  const QuantRow row_;
  const std::size_t groups_;
  EncodeCounts counts_;
  SourceAhead ahead_{nullptr, 0, 0, 0};
  StagedTile staged_;
  ExactTile exact_;
  EncodedPanel panel_;
};

EncodeCounts encode_here(const DenseView& dense, const EncodeOptions& options,
                         const PackedTarget& target) {
  if (dense.dtype == DType::BF16) return Encoder<Bf16Line>(dense, options, target).run();
  if (dense.dtype == DType::F16) return Encoder<F16Line>(dense, options, target).run();
  return Encoder<F32Line>(dense, options, target).run();
}

#endif

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::internal::mxfp4 {

HWY_EXPORT(encode_here);

EncodeCounts encode(const DenseView& dense, const EncodeOptions& options,
                    const PackedTarget& target) noexcept {
  if (dense.rows == 0 || dense.columns == 0) return {};  // the pointers may be null
  return HWY_DYNAMIC_DISPATCH(encode_here)(dense, options, target);
}

}  // namespace mxferry::internal::mxfp4
#endif  // HWY_ONCE
