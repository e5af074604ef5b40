// The output side of the decode kernels. Included once per target.

#include <cstddef>
#include <cstdint>

#include "dense/slices-inl.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

#if defined(MXFERRY_MXFP4_EMIT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_MXFP4_EMIT_INL_H
#undef MXFERRY_MXFP4_EMIT_INL_H
#else
#define MXFERRY_MXFP4_EMIT_INL_H
#endif

#if HWY_TARGET != HWY_SCALAR  // which has no shuffles and falls back to the reference

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::mxfp4::HWY_NAMESPACE {

using namespace mxferry::internal::HWY_NAMESPACE;  // slices-inl.h

// A tile is one block from each of this many rows: at least 32 weights wide, a whole cache line of
// a 16-bit dtype in every row of the transposed output, and as wide as a vector of bytes.
inline constexpr std::size_t kTileRows = kSlices == 4 ? 64 : 32;

template <bool kStream, class D>
HWY_INLINE void store(hn::Vec<D> vector, D d, hn::TFromD<D>* out) {
  if constexpr (kStream) {
    hn::Stream(vector, d, out);
  } else {
    hn::StoreU(vector, d, out);
  }
}

// Which of 16 * kSlices consecutive elements must be at `position` (0 to 15) of `slice` so that
// emit() writes them in order: an interleave takes its elements of T from the same place in every
// slice.
template <typename T>
constexpr std::size_t element_at(std::size_t slice, std::size_t position) {
  constexpr std::size_t kChunk = 16 / sizeof(T);
  return position / kChunk * kChunk * kSlices + slice * kChunk + position % kChunk;
}

// Writes 8 * kSlices 16-bit patterns as T: unchanged for uint16_t, widened from BF16 to FP32 for
// uint32_t.
template <typename T, bool kStream>
HWY_INLINE void emit(V16 patterns, T* out) {
  if constexpr (sizeof(T) == 2) {
    store<kStream>(patterns, D16(), out);
  } else {
    const D32 d32;
    const V16 zero = hn::Zero(D16());
    store<kStream>(hn::BitCast(d32, hn::InterleaveLower(D16(), zero, patterns)), d32, out);
    store<kStream>(hn::BitCast(d32, hn::InterleaveUpper(D16(), zero, patterns)), d32,
                   out + 4 * kSlices);
  }
}

// Whether every 64-byte line of the output can be written whole, bypassing the cache. Single-slice
// vectors would leave lines half written.
template <typename T>
bool can_stream(const std::byte* out, std::size_t out_row_stride) {
  constexpr std::size_t kLine = 64;
  return kSlices >= 2 && reinterpret_cast<std::uintptr_t>(out) % kLine == 0 &&
         out_row_stride * sizeof(T) % kLine == 0;
}

}  // namespace mxferry::internal::mxfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
