#pragma once

#include <cstddef>
#include <cstdint>

#include "mxferry/dtype.h"

namespace mxferry::internal {

// Plans use signed sizes, memory unsigned ones. Preconditions: sizes are not negative, elements are
// whole bytes.
constexpr std::size_t to_size(std::int64_t value) noexcept {
  return static_cast<std::size_t>(value);
}

inline std::int64_t element_size(DType dtype) noexcept {
  return bits(dtype) / 8;
}

inline std::size_t element_bytes(DType dtype) noexcept {
  return to_size(element_size(dtype));
}

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) noexcept {
  return (a + b - 1) / b;
}

}  // namespace mxferry::internal
