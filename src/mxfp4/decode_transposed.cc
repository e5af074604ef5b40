#include <algorithm>
#include <cstring>

#include "dense/targets.h"
#include "mxfp4/decode.h"
#include "mxfp4/reference.h"
#include "mxfp4/rows_ahead.h"
#include "mxfp4/tables.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mxfp4/decode_transposed.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "mxfp4/exact_tile-inl.h"
#include "mxfp4/usual_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void decode_transposed_here(const PackedView& packed, DType dtype, std::byte* out,
                            std::size_t out_row_stride, Stores /*stores*/) {
  reference::decode_transposed(packed, dtype, out, out_row_stride);
}

#else

// Transposes a tile with fewer rows, using copies padded to a full tile.
template <typename T>
void transpose_partial_tile(const PackedView& packed, const ScaleTables& tables, T* out,
                            std::size_t out_row_stride) {
  std::uint8_t blocks[kTileRows * kBlockBytes] = {};
  std::uint8_t scales[kTileRows] = {};
  for (std::size_t row = 0; row < packed.rows; ++row) {
    std::memcpy(blocks + row * kBlockBytes, packed.blocks + row * packed.block_row_bytes,
                kBlockBytes);
    scales[row] = packed.scales[row * packed.scale_row_bytes];
  }
  T whole[kBlockSize * kTileRows];
  transpose_tile_exactly<T, false>({blocks, kBlockBytes, scales, 1, kTileRows, 1}, tables, whole,
                                   kTileRows);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    std::memcpy(out + i * out_row_stride, whole + i * kTileRows, packed.rows * sizeof(T));
  }
}

// The rows from `row` on, with group `group` alone.
PackedView tile_at(const PackedView& packed, std::size_t row, std::size_t group) {
  PackedView tile = packed;
  tile.blocks += row * packed.block_row_bytes + group * kBlockBytes;
  tile.scales += row * packed.scale_row_bytes + group;
  tile.rows -= row;
  tile.groups = 1;
  return tile;
}

// Rows decoded group by group before the next rows. Their blocks and those of the next stripe,
// which are requested meanwhile, stay in the second-level cache for models of gpt-oss's size.
inline constexpr std::size_t kStripeRows = 128;
inline constexpr std::size_t kStripeTiles = kStripeRows / kTileRows;

PackedView stripe_at(const PackedView& packed, std::size_t row) {
  PackedView stripe = packed;
  stripe.blocks += row * packed.block_row_bytes;
  stripe.scales += row * packed.scale_row_bytes;
  stripe.rows = std::min(kStripeRows, packed.rows - row);
  return stripe;
}

// Requests a stripe's data before it is decoded.
class StripeAhead {
 public:
  explicit StripeAhead(const PackedView& stripe)
      : blocks_(stripe.blocks, stripe.block_row_bytes, stripe.groups * kBlockBytes, stripe.rows),
        scales_(stripe.scales, stripe.scale_row_bytes, stripe.groups, stripe.rows) {}

  // Requests as many lines as a tile has, so that all are requested when the stripe before is done.
  void request_tile() {
    constexpr std::size_t kTileLines = kTileRows * kBlockBytes / 64 + 1;
    for (std::size_t line = 0; line < kTileLines; ++line) blocks_.request_line();
    scales_.request_line();
  }

  void request_all() {
    while (!blocks_.done() || !scales_.done()) request_tile();
  }

 private:
  RowsAhead<kAheadLocality> blocks_;
  RowsAhead<kAheadLocality> scales_;
};

// The scales of a stripe's full tiles for 16 groups from `first_group`, in the order of
// load_columns<T>().
inline constexpr std::size_t kPanelGroups = 16;
struct ScalePanel {
  std::size_t first_group = 0;
  alignas(64) std::uint8_t scales[kPanelGroups][kStripeTiles][kTileRows];
};

// `groups` is how many of a row's 16 bytes may be read.
template <typename T>
void load_scale_strip(const std::uint8_t* scales, std::size_t row_bytes, std::size_t groups,
                      V8 (&columns)[kPanelGroups]) {
  if (groups >= kPanelGroups) {
    load_columns<T>(scales, row_bytes, columns);
    return;
  }
  std::uint8_t padded[kStripRows * kPanelGroups] = {};
  for (std::size_t row = 0; row < kStripRows; ++row) {
    std::memcpy(padded + row * kPanelGroups, scales + row * row_bytes, groups);
  }
  load_columns<T>(padded, kPanelGroups, columns);
}

template <typename T>
void load_scale_panel(const PackedView& stripe, std::size_t group, ScalePanel& panel) {
  // The last panel ends at the last group, so that whole vectors can be read.
  panel.first_group =
      stripe.groups < kPanelGroups ? 0 : std::min(group, stripe.groups - kPanelGroups);
  for (std::size_t row = 0; row + kTileRows <= stripe.rows; row += kTileRows) {
    for (std::size_t strip = 0; strip < kTileRows; strip += kStripRows) {
      V8 columns[kPanelGroups];
      load_scale_strip<T>(
          stripe.scales + (row + strip) * stripe.scale_row_bytes + panel.first_group,
          stripe.scale_row_bytes, stripe.groups, columns);
      for (std::size_t i = 0; i < kPanelGroups; ++i) {
        hn::Store(columns[i], D8(), panel.scales[i][row / kTileRows] + strip);
      }
    }
  }
}

template <class Usual, typename T, bool kStream>
HWY_INLINE void transpose_tile(const PackedView& tile, const std::uint8_t* scales,
                               const ScaleTables& tables, T* out, std::size_t out_row_stride) {
  for (std::size_t strip = 0; strip < kTileRows; strip += kStripRows) {
    if (!are_usual<Usual>(hn::Load(D8(), scales + strip))) {
      transpose_tile_exactly<T, kStream>(tile, tables, out, out_row_stride);
      return;
    }
  }
  for (std::size_t strip = 0; strip < kTileRows; strip += kStripRows) {
    transpose_usual_strip<Usual, T, kStream>(tile.blocks + strip * tile.block_row_bytes,
                                             tile.block_row_bytes, hn::Load(D8(), scales + strip),
                                             out + strip, out_row_stride);
  }
}

template <class Usual, typename T, bool kStream>
void transpose_stripe(const PackedView& stripe, const ScaleTables& tables, T* out,
                      std::size_t out_row_stride, StripeAhead ahead) {
  ScalePanel panel;
  for (std::size_t group = 0; group < stripe.groups; ++group) {
    if (group % kPanelGroups == 0) load_scale_panel<T>(stripe, group, panel);
    T* group_out = out + group * kBlockSize * out_row_stride;
    std::size_t row = 0;
    for (; row + kTileRows <= stripe.rows; row += kTileRows) {
      ahead.request_tile();
      transpose_tile<Usual, T, kStream>(tile_at(stripe, row, group),
                                        panel.scales[group - panel.first_group][row / kTileRows],
                                        tables, group_out + row, out_row_stride);
    }
    if (row < stripe.rows) {
      transpose_partial_tile<T>(tile_at(stripe, row, group), tables, group_out + row,
                                out_row_stride);
    }
  }
}

template <class Usual, typename T, bool kStream>
void transpose_all(const PackedView& packed, const ScaleTables& tables, T* out,
                   std::size_t out_row_stride) {
  if (packed.groups == 0) return;
  StripeAhead(stripe_at(packed, 0)).request_all();
  for (std::size_t row = 0; row < packed.rows; row += kStripeRows) {
    const PackedView next = stripe_at(packed, std::min(row + kStripeRows, packed.rows));
    transpose_stripe<Usual, T, kStream>(stripe_at(packed, row), tables, out + row, out_row_stride,
                                        StripeAhead(next));
  }
  if constexpr (kStream) hwy::FlushStream();
}

template <class Usual, typename T>
void transpose_as(const PackedView& packed, const ScaleTables& tables, std::byte* out,
                  std::size_t out_row_stride, Stores stores) {
  T* typed_out = reinterpret_cast<T*>(out);
  if (stores == Stores::streaming && can_stream<T>(out, out_row_stride)) {
    transpose_all<Usual, T, true>(packed, tables, typed_out, out_row_stride);
  } else {
    transpose_all<Usual, T, false>(packed, tables, typed_out, out_row_stride);
  }
}

void decode_transposed_here(const PackedView& packed, DType dtype, std::byte* out,
                            std::size_t out_row_stride, Stores stores) {
  if (dtype == DType::F16) {
    transpose_as<UsualF16, std::uint16_t>(packed, kF16Tables, out, out_row_stride, stores);
  } else if (dtype == DType::BF16) {
    transpose_as<UsualBf16, std::uint16_t>(packed, kBf16Tables, out, out_row_stride, stores);
  } else {
    transpose_as<UsualBf16, std::uint32_t>(packed, kBf16Tables, out, out_row_stride, stores);
  }
}

#endif

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxferry::internal::mxfp4 {

// Not noexcept: GCC 14 and Clang reject a dispatch table of noexcept functions.
HWY_EXPORT(decode_transposed_here);

void decode_transposed(const PackedView& packed, DType dtype, std::byte* out,
                       std::size_t out_row_stride, Stores stores) noexcept {
  HWY_DYNAMIC_DISPATCH(decode_transposed_here)(packed, dtype, out, out_row_stride, stores);
}

}  // namespace mxferry::internal::mxfp4
#endif  // HWY_ONCE
