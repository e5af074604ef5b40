#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxferry/dtype.h"

namespace mxferry::dense {

// A matrix in memory, row-major; row_stride in elements, at least the columns. dtype is BF16, F16
// or F32.
struct Losses {
  std::optional<std::size_t>
      first_overflow;  // index of the first finite value that became infinite
  std::size_t underflows =
      0;  // inexact and below the target's normal range, those that become 0 included
  std::size_t flushed = 0;  // nonzero values that became 0
};

// out[i] = in[i] as `to`, rounded to nearest even; exact where `to` has the range and precision.
// NaN stays NaN (quiet), infinity stays. in and out must not overlap. Any dtype pair of BF16, F16,
// F32. Returns what was lost.
Losses cast(const std::byte* in, DType from, std::byte* out, DType to, std::size_t count) noexcept;

// out[c * out_row_stride + r] = in[r * in_row_stride + c], elements of element_bytes = 2 or 4.
void transpose(const std::byte* in, std::size_t in_row_stride, std::size_t rows,
               std::size_t columns, std::size_t element_bytes, std::byte* out,
               std::size_t out_row_stride) noexcept;

}  // namespace mxferry::dense
