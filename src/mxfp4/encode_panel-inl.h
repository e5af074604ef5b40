// Collects encoded weights, so that they are written in long runs: otherwise the processor would
// wait for lines fetched for a few bytes in each of many rows. Included once per target.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dense/slices-inl.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/encode.h"

#if defined(MXFERRY_MXFP4_ENCODE_PANEL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_MXFP4_ENCODE_PANEL_INL_H
#undef MXFERRY_MXFP4_ENCODE_PANEL_INL_H
#else
#define MXFERRY_MXFP4_ENCODE_PANEL_INL_H
#endif

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

using namespace mxferry::internal::HWY_NAMESPACE;  // slices-inl.h

inline constexpr std::size_t kPanelRows = 64;
inline constexpr std::size_t kPanelGroups = 96;  // gpt-oss has 90

struct EncodedPanel {
  // An odd number of cache lines, so that neighboring rows do not share sets of the cache.
  static constexpr std::size_t kRowBytes = kPanelGroups * kBlockBytes + 64;

  alignas(64) std::uint8_t blocks[kPanelRows][kRowBytes];
  alignas(64) std::uint8_t scales[kPanelGroups][kPanelRows];
};

struct PanelPlace {
  std::size_t row;
  std::size_t group;
};

HWY_INLINE bool can_stream_blocks(const PackedTarget& target) {
  return (reinterpret_cast<std::uintptr_t>(target.blocks) | target.block_row_bytes) % kBlockBytes ==
         0;
}

// A line that two rows share is still written whole: the rows follow one another.
inline void stream_blocks(const std::uint8_t* from, std::uint8_t* to, std::size_t count) {
  const hn::FixedTag<std::uint8_t, kBlockBytes> d;
  for (std::size_t i = 0; i < count * kBlockBytes; i += kBlockBytes) {
    hn::Stream(hn::Load(d, from + i), d, to + i);
  }
}

inline void write_scales(const EncodedPanel& panel, std::size_t rows, std::size_t groups,
                         const PackedTarget& target) {
  const D8 d8;
  alignas(64) std::uint8_t transposed[kPanelRows][kPanelGroups];
  for (std::size_t strip = 0; strip < kPanelRows; strip += 16 * kSlices) {
    for (std::size_t group = 0; group < groups; group += 16) {
      V8 square[16];
      for (std::size_t i = 0; i < 16; ++i) {
        square[i] = hn::Load(d8, panel.scales[group + i] + strip);
      }
      transpose_slices(d8, square);
      for (std::size_t i = 0; i < 16; ++i) {
        store_slices(square[i], d8,
                     [&](std::size_t slice) { return transposed[strip + 16 * slice + i] + group; });
      }
    }
  }
  for (std::size_t row = 0; row < rows; ++row) {
    std::memcpy(target.scales + row * target.scale_row_bytes, transposed[row], groups);
  }
}

// Writes the first `rows` rows and `groups` groups of the panel to `target`, which starts there.
inline void write_panel(const EncodedPanel& panel, std::size_t rows, std::size_t groups,
                        const PackedTarget& target, Stores stores) {
  const bool streams = stores == Stores::streaming && can_stream_blocks(target);
  for (std::size_t row = 0; row < rows; ++row) {
    std::uint8_t* out = target.blocks + row * target.block_row_bytes;
    if (streams) {
      stream_blocks(panel.blocks[row], out, groups);
    } else {
      std::memcpy(out, panel.blocks[row], groups * kBlockBytes);
    }
  }
  write_scales(panel, rows, groups, target);
  if (streams) hwy::FlushStream();
}

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
