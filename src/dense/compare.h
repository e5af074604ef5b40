#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "mxferry/difference.h"
#include "mxferry/dtype.h"

namespace mxferry::internal::dense {

inline constexpr std::size_t kRun = 32;  // weights of an MXFP4 block

// Two matrices [lines][length] without gaps, 64-byte aligned, of BF16 or F32.
struct Pair {
  const std::byte* a = nullptr;
  const std::byte* b = nullptr;
  DType dtype = DType::F32;
  std::size_t lines = 0;
  std::size_t length = 0;
};

// How weights are grouped into blocks.
enum class Blocks : std::uint8_t {
  none,
  along_lines,   // 32 neighbours of a line
  across_lines,  // one weight of each of 32 lines
};

// What b changes of a, as mxferry/difference.h defines it. With blocks, `length` or `lines` is a
// multiple of 32; `limits` are one number a block, the largest magnitude that it holds, in the
// order [lines][length / 32] or [lines / 32][length]; null where B is not packed.
Difference compare(const Pair& pair, Blocks blocks, const float* limits) noexcept;

// The same of matrices that are equal byte for byte, which is seen much faster; nullopt of others,
// and of weights of extreme sizes.
std::optional<Difference> compare_if_equal(const Pair& pair, Blocks blocks) noexcept;

// Element i.
double weight(const std::byte* weights, DType dtype, std::size_t i) noexcept;

// The first element with this absolute error, which compare() found.
std::size_t find_error(const Pair& pair, double error) noexcept;

}  // namespace mxferry::internal::dense
