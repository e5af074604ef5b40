#include "mxfp4/fingerprint.h"

#include <array>
#include <cmath>
#include <cstddef>

#include "mxferry/mxfp4.h"
#include "mxfp4/encode_reference.h"

namespace mxferry::internal::mxfp4 {
namespace {

using Run = std::array<double, kBlockSize>;

struct Tally {
  std::size_t runs = 0;
  std::size_t exact = 0;

  bool holds_for_all() const { return runs > 0 && exact == runs; }
  // One failure in fifty is no accident: if the blocks ran in this direction, all runs would be
  // exact.
  bool clearly_fails() const {
    constexpr std::size_t kOneIn = 50;
    return (runs - exact) * kOneIn >= runs && runs > exact;
  }
};

bool is_finite(const Run& run) noexcept {
  for (const double weight : run) {
    if (!std::isfinite(weight)) return false;
  }
  return true;
}

// Runs of zeros say nothing.
void count(const Run& run, Tally& tally) noexcept {
  const EncodeOptions options{.mode = QuantMode::ocp};
  const QuantRow row = reference::row_of(options);
  double largest = 0;
  for (const double weight : run) largest = std::fmax(largest, std::fabs(weight));
  if (largest == 0) return;
  ++tally.runs;
  // Any block that is exact under some scale is exact under that of `ocp`.
  const std::uint8_t scale = reference::scale_of(largest, row.scale, row);
  tally.exact += is_finite(run) && reference::is_exact_under(run.data(), scale);
}

}  // namespace

Fingerprint fingerprint(const DenseView& sample) noexcept {
  Tally along_input, along_rows;
  for (std::size_t row = 0; row < sample.rows; ++row) {
    for (std::size_t column = 0; column + kBlockSize <= sample.columns; column += kBlockSize) {
      Run run{};
      for (std::size_t i = 0; i < run.size(); ++i) {
        run[i] = reference::weight_at(sample, row, column + i);
      }
      count(run, along_input);
    }
  }
  for (std::size_t column = 0; column < sample.columns; ++column) {
    for (std::size_t row = 0; row + kBlockSize <= sample.rows; row += kBlockSize) {
      Run run{};
      for (std::size_t i = 0; i < run.size(); ++i) {
        run[i] = reference::weight_at(sample, row + i, column);
      }
      count(run, along_rows);
    }
  }
  if (along_input.holds_for_all() && along_rows.clearly_fails()) return Fingerprint::along_input;
  if (along_rows.holds_for_all() && along_input.clearly_fails()) return Fingerprint::along_rows;
  return Fingerprint::unknown;
}

}  // namespace mxferry::internal::mxfp4
