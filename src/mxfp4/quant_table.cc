#include "mxfp4/quant_table.h"

#include <algorithm>
#include <array>

namespace mxferry::internal::mxfp4 {
namespace {

using enum Rounding;
using enum ZeroSign;

// Indexed by QuantMode. Scale 253 can hold a maximum of just over 1.5 * 2^127 as 3 * 2^126; `floor`
// and `even` saturate there, so that they never make a block that decodes to infinity.
constexpr std::array<QuantRow, 4> kRows = {{
    {QuantMode::gptoss, "gptoss", ScaleRule::fit, nearest_even, kept, 0, 0, 253},
    {QuantMode::ocp, "ocp", ScaleRule::floor, nearest_even, kept, 0, 0, 252},
    {QuantMode::even, "even", ScaleRule::even, nearest_even, kept, 0, 0, 252},
    {QuantMode::best, "best", ScaleRule::least_error, nearest_even, kept, 0, 0, 253},
}};

}  // namespace

std::span<const QuantRow> quant_rows() noexcept {
  return kRows;
}

const QuantRow& quant_row(QuantMode mode) noexcept {
  return kRows[static_cast<std::size_t>(mode)];
}

}  // namespace mxferry::internal::mxfp4

namespace mxferry {

std::string_view name(QuantMode mode) noexcept {
  return internal::mxfp4::quant_row(mode).name;
}

std::optional<QuantMode> parse_quant_mode(std::string_view name) noexcept {
  const auto rows = internal::mxfp4::quant_rows();
  const auto row = std::ranges::find(rows, name, &internal::mxfp4::QuantRow::name);
  if (row == rows.end()) return std::nullopt;
  return row->mode;
}

}  // namespace mxferry
