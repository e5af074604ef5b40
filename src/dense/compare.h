#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxferry/difference.h"
#include "mxferry/dtype.h"

namespace mxferry::internal::dense {

inline constexpr std::size_t kRun = 32;  // weights in an MXFP4 block

// Two BF16 or F32 matrices [lines][length] without gaps, 64-byte aligned.
struct Pair {
  const std::byte* a = nullptr;
  const std::byte* b = nullptr;
  DType dtype = DType::F32;
  std::size_t lines = 0;
  std::size_t length = 0;
};

// How weights form blocks.
enum class Blocks : std::uint8_t {
  none,
  along_lines,   // 32 neighbors in a line
  across_lines,  // one weight from each of 32 lines
};

// How b differs from a, as mxferry/difference.h defines it. With blocks, `length` (along_lines) or
// `lines` (across_lines) is a multiple of 32. `limits` has one number per block, the largest
// magnitude that the block can hold, in the order [lines][length / 32] or [lines / 32][length];
// null if b is not packed.
Difference compare(const Pair& pair, Blocks blocks, const float* limits) noexcept;

// The same for matrices that are equal byte for byte, which is detected much faster; nullopt for
// others, and for weights that are not finite or of extreme sizes.
std::optional<Difference> compare_if_equal(const Pair& pair, Blocks blocks) noexcept;

// Element i of `weights`.
double weight(const std::byte* weights, DType dtype, std::size_t i) noexcept;

// The index of the first element with this absolute error, which compare() found.
std::size_t find_error(const Pair& pair, double error) noexcept;

}  // namespace mxferry::internal::dense
