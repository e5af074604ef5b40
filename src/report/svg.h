#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace mxferry::internal {

// Pictures for a page. Its style colours the classes c0 (hardly different) to c7 (most different),
// cx (exact), ha and hb (bars of A and B).
inline constexpr int kColors = 8;
inline constexpr int kExact = -1;   // the colour of a cell that does not differ
inline constexpr int kAbsent = -2;  // there is no such cell

// Ranges of a measure, each with a colour. Round limits that follow the data, because what is worth
// seeing may be 20 against 35 dB or 0.001 against 0.1 %.
class ColorSteps {
 public:
  // Of SQNR: higher is better. The worst colour means below 0 dB: more error than weight.
  static ColorSteps decibels(std::vector<double> values);
  // Of shares that are not 0, in percent: lower is better.
  static ColorSteps shares(const std::vector<double>& percents);

  int color(double value) const noexcept;

  // A list of all ranges, best first; `exact` is what kExact means, "" where it does not occur.
  std::string legend(std::string_view exact) const;

 private:
  struct Step {
    double from = 0;  // up to where the next step begins
    int color = 0;
    std::string words;
  };

  std::vector<Step> steps_;  // ascending; the first has no lower limit
  bool higher_is_better_ = false;
};

struct HeatCell {
  int color = kAbsent;
  std::string title;  // what a pointer that rests on the cell shows
};

struct HeatRow {
  std::string label;
  std::vector<HeatCell> cells;
};

// Any bytes will do as text.
struct HeatMap {
  std::string description;  // for those who cannot see it
  std::string row_axis, column_axis;
  std::vector<std::string> columns;
  std::vector<HeatRow> rows;
  bool first_column_apart = false;  // it sums up the others
  bool every_row_labelled = false;  // otherwise as many as are easy to read
};

std::string heat_map(const HeatMap& map);

// The number of blocks (logarithmic) by scale, from the smallest that occurs to the largest; "" if
// none does.
std::string scale_histogram(const std::array<std::uint64_t, 256>& a,
                            const std::array<std::uint64_t, 256>& b);

// The power of two that a scale byte stands for, as HTML; the last byte is NaN.
std::string scale_html(std::size_t scale);

}  // namespace mxferry::internal
