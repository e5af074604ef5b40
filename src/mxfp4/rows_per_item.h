#pragma once

#include <algorithm>
#include <cstddef>

namespace mxferry::internal::mxfp4 {

// Rows of one expert that a thread works on at a time: all of them if there are enough experts for
// all threads to end at about the same time. Otherwise a multiple of a cache line of any dtype, so
// that no two threads write to the same line.
inline std::size_t rows_per_item(std::size_t experts, std::size_t rows, int threads) {
  constexpr std::size_t kItemsPerThread = 16;
  constexpr std::size_t kRowUnit = 128;
  const std::size_t items = static_cast<std::size_t>(std::max(1, threads)) * kItemsPerThread;
  const std::size_t parts = (items + experts - 1) / experts;
  const std::size_t part = (rows + parts - 1) / parts;
  return std::max<std::size_t>(1, (part + kRowUnit - 1) / kRowUnit) * kRowUnit;
}

}  // namespace mxferry::internal::mxfp4
