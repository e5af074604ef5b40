#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace mxferry::internal {

// Pictures for a page, whose style colors the classes c0 (smallest difference) to c7 (largest), cx
// (exact), ha and hb (bars of A and B).
inline constexpr int kColors = 8;
inline constexpr int kExact = -1;   // the color of a cell without differences
inline constexpr int kAbsent = -2;  // no cell

// Ranges of a measure, each with a color. The limits are round and follow the data, because the
// interesting range may be 20 to 35 dB or 0.001 to 0.1 %.
class ColorSteps {
 public:
  // For SQNR: higher is better. The worst color means below 0 dB, more error than signal.
  static ColorSteps decibels(std::vector<double> values);
  // For nonzero shares, in percent: lower is better.
  static ColorSteps shares(const std::vector<double>& percents);

  int color(double value) const noexcept;

  // An HTML list of all ranges, best first. `exact` describes kExact; "" if no cell has it.
  std::string legend(std::string_view exact) const;

 private:
  struct Step {
    double from = 0;  // ends where the next step begins
    int color = 0;
    std::string words;
  };

  std::vector<Step> steps_;  // ascending; the first has no lower limit
  bool higher_is_better_ = false;
};

struct HeatCell {
  int color = kAbsent;
  std::string title;  // the cell's tooltip
};

struct HeatRow {
  std::string label;
  std::vector<HeatCell> cells;
};

// Text fields may hold any bytes.
struct HeatMap {
  std::string description;  // alternative text
  std::string row_axis, column_axis;
  std::vector<std::string> columns;
  std::vector<HeatRow> rows;
  bool first_column_apart = false;  // it summarizes the others
  bool every_row_labelled = false;  // otherwise only as many as are readable
};

std::string heat_map(const HeatMap& map);

// A histogram of the number of blocks (logarithmic) by scale, from the smallest scale that occurs
// to the largest; "" if none does.
std::string scale_histogram(const std::array<std::uint64_t, 256>& a,
                            const std::array<std::uint64_t, 256>& b);

// The power of two that a scale byte represents, as HTML; byte 255 is NaN.
std::string scale_html(std::size_t scale);

}  // namespace mxferry::internal
