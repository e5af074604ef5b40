#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxferry/dtype.h"

namespace mxferry::internal::dense {

// What a cast loses of finite values.
struct Losses {
  // Index of the first value that becomes infinite.
  std::optional<std::size_t> first_overflow;
  // Values below the target's normal range that the target does not hold exactly, flushed ones
  // included.
  std::size_t underflows = 0;
  // Nonzero values that become 0.
  std::size_t flushed = 0;
};

// out[i] = in[i] as `to`, rounded to nearest even; exact if `to` has the range and precision.
// Infinity stays infinity. NaN stays NaN, and becomes quiet if the cast narrows. `from` and `to`
// are any of BF16, F16 and F32; in and out are aligned to their elements and do not overlap.
Losses cast(const std::byte* in, DType from, std::byte* out, DType to, std::size_t count) noexcept;

// out[c * out_row_stride + r] = in[r * in_row_stride + c], with elements of element_bytes = 2 or 4
// and strides in elements. in and out are aligned to their elements and do not overlap.
void transpose(const std::byte* in, std::size_t in_row_stride, std::size_t rows,
               std::size_t columns, std::size_t element_bytes, std::byte* out,
               std::size_t out_row_stride) noexcept;

}  // namespace mxferry::internal::dense
