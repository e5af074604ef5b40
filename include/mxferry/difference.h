#pragma once

#include <cstdint>

namespace mxferry {

// How B differs from A: over a parameter, over one of its experts, or over everything.
struct Difference {
  std::uint64_t weights = 0;
  // Weights whose values differ. Zeros of either sign are equal, and NaN equals NaN.
  std::uint64_t different = 0;
  std::uint64_t zero_signs = 0;  // zeros that differ only in sign
  // MXFP4 blocks, if either side is packed; else 0.
  std::uint64_t blocks = 0;
  std::uint64_t blocks_changed = 0;    // with a weight that differs
  std::uint64_t blocks_saturated = 0;  // in B: with a weight of A beyond 6 times B's scale
  double max_absolute_error = 0;       // of the finite differences
  double max_relative_error = 0;       // |b - a| / |a|, where a is not 0
  double signal = 0;                   // sum of a^2 over the finite pairs
  double noise = 0;                    // sum of (b - a)^2 over the same pairs

  // 10 log10(signal / noise): infinite if there is no noise, else -infinite if there is no signal.
  double sqnr_db() const noexcept;
  // The same for an order from bad to good: infinite only if no weight differs, and -infinite if
  // weights differ only in NaN and infinity.
  double ranked_sqnr_db() const noexcept;

  Difference& operator+=(const Difference& other) noexcept;
};

// One weight: its place in [expert, out, in] and its value on each side. Expert and row are 0 if
// the parameter has fewer dimensions.
struct WeightPair {
  std::int64_t expert = 0;
  std::int64_t row = 0;
  std::int64_t column = 0;
  double a = 0;
  double b = 0;
};

}  // namespace mxferry
