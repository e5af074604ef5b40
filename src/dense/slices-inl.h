// Treats vectors as one, two or four slices of 128 bits, within which shuffles work. Included once
// per target.

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

#if defined(MXFERRY_DENSE_SLICES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXFERRY_DENSE_SLICES_INL_H
#undef MXFERRY_DENSE_SLICES_INL_H
#else
#define MXFERRY_DENSE_SLICES_INL_H
#endif

#if HWY_TARGET != HWY_SCALAR  // which has no shuffles

HWY_BEFORE_NAMESPACE();
namespace mxferry::internal::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_CAP_GE512
inline constexpr std::size_t kSlices = 4;
#elif HWY_CAP_GE256
inline constexpr std::size_t kSlices = 2;
#else
inline constexpr std::size_t kSlices = 1;
#endif

// The locality of prefetches, as for __builtin_prefetch: with AVX-512 a line takes so few
// instructions that the bottleneck is the buffers in front of the first-level cache.
inline constexpr int kAheadLocality = kSlices == 4 ? 2 : 3;

using D8 = hn::FixedTag<std::uint8_t, 16 * kSlices>;
using D16 = hn::Repartition<std::uint16_t, D8>;
using D32 = hn::Repartition<std::uint32_t, D8>;
using V8 = hn::Vec<D8>;
using V16 = hn::Vec<D16>;

template <class D>
inline constexpr std::size_t kSlicesOf = sizeof(hn::TFromD<D>) * hn::MaxLanes(D()) / 16;

// Loads slices from the addresses that address_of(slice) gives, starting with slice `first`.
template <class D, class AddressOf>
HWY_INLINE hn::Vec<D> load_slices(D d, const AddressOf& address_of, std::size_t first = 0) {
  if constexpr (kSlicesOf<D> == 1) {
    return hn::LoadU(d, address_of(first));
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, load_slices(half, address_of, first + kSlicesOf<D> / 2),
                       load_slices(half, address_of, first));
  }
}

// Stores one slice to each of the addresses that address_of(slice) gives.
template <class D, class AddressOf>
HWY_INLINE void store_slices(hn::Vec<D> v, D d, const AddressOf& address_of,
                             std::size_t first = 0) {
  if constexpr (kSlicesOf<D> == 1) {
    hn::StoreU(v, d, address_of(first));
  } else {
    const hn::Half<D> half;
    store_slices(hn::LowerHalf(half, v), half, address_of, first);
    store_slices(hn::UpperHalf(half, v), half, address_of, first + kSlicesOf<D> / 2);
  }
}

// Transposes the square of elements that each slice forms across the vectors; there are as many
// vectors as a slice has elements. Each step moves one bit of the vector's index into the
// element's.
template <class D, std::size_t kCount>
HWY_INLINE void transpose_slices(D d, hn::Vec<D> (&v)[kCount]) {
  static_assert(kCount * sizeof(hn::TFromD<D>) == 16);
  for (std::size_t step = 1; step < kCount; step *= 2) {
    hn::Vec<D> w[kCount];
    for (std::size_t i = 0; i < kCount / 2; ++i) {
      w[2 * i] = hn::InterleaveLower(d, v[i], v[i + kCount / 2]);
      w[2 * i + 1] = hn::InterleaveUpper(d, v[i], v[i + kCount / 2]);
    }
    for (std::size_t i = 0; i < kCount; ++i) v[i] = w[i];
  }
}

}  // namespace mxferry::internal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET != HWY_SCALAR
#endif  // include guard
