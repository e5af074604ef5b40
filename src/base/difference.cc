#include "mxferry/difference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mxferry {

Difference& Difference::operator+=(const Difference& other) noexcept {
  weights += other.weights;
  different += other.different;
  zero_signs += other.zero_signs;
  blocks += other.blocks;
  blocks_changed += other.blocks_changed;
  blocks_saturated += other.blocks_saturated;
  max_absolute_error = std::max(max_absolute_error, other.max_absolute_error);
  max_relative_error = std::max(max_relative_error, other.max_relative_error);
  signal += other.signal;
  noise += other.noise;
  return *this;
}

double Difference::sqnr_db() const noexcept {
  constexpr double kDecibel = 10;
  if (noise == 0) return std::numeric_limits<double>::infinity();
  if (signal == 0) return -std::numeric_limits<double>::infinity();
  return kDecibel * std::log10(signal / noise);
}

double Difference::ranked_sqnr_db() const noexcept {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (different == 0) return kInfinity;
  const double sqnr = noise > 0 ? sqnr_db() : -kInfinity;
  return std::isnan(sqnr) ? -kInfinity : sqnr;
}

}  // namespace mxferry
