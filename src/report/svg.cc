#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "report/html.h"

namespace mxferry::internal {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Pixels of a picture at its natural size.
constexpr int kPitch = 10;    // from one cell to the next
constexpr int kGap = 4;       // between the summary column and the rest
constexpr int kLabel = 13;    // a line of labels
constexpr int kChar = 5;      // a character of a label
constexpr int kWideChar = 7;  // in a wide picture, which is shown smaller

// The smallest step of ..., 0.1, 0.2, 0.5, 1, 2, 5, 10, ... not below `least` that covers [low,
// high] in at most `most` steps.
double round_step(double low, double high, int most, double least) {
  constexpr std::array<double, 3> kMantissas = {1, 2, 5};
  for (double power = std::pow(10, std::floor(std::log10(least)));; power *= 10) {
    for (const double mantissa : kMantissas) {
      const double step = mantissa * power;
      if (step < least * 0.999) continue;
      if (std::ceil(high / step) - std::floor(low / step) <= most) return step;
    }
  }
}

// The color, out of `colors`, of step `step` out of `count`; step 0 is the best. Few steps get
// similar colors, so that a small difference does not look like a large one; `badness`, from 0 to
// 1, then sets the color of the worst step.
int spread(int step, int count, int colors, double badness) {
  if (count >= colors / 2 + 1) return (step * (colors - 1) + (count - 1) / 2) / (count - 1);
  const int worst = std::max(2 * count - 1, static_cast<int>(std::lround(badness * (colors - 1))));
  return std::min(worst, colors - 1) - 2 * (count - 1 - step);
}

// Opens an <svg> that scales with its box, but stays large enough for its labels to be readable and
// has a maximum size; the box around it scrolls.
void open_picture(std::string& out, int width, int height, std::string_view description,
                  bool wide) {
  append(out,
         "<div class=\"box\" tabindex=\"0\" role=\"group\" aria-label=\"{}\"><svg{} role=\"img\" "
         "aria-label=\"{}\" viewBox=\"0 0 {} {}\" style=\"min-width:{}px;max-width:{}px\">\n",
         description, wide ? " class=\"wide\"" : "", description, width, height,
         wide ? width * 3 / 4 : width * 9 / 10, width * 17 / 10);
}

void close_picture(std::string& out) {
  out += "</svg></div>\n";
}

void append_label(std::string& out, int x, int y, const char* anchor, std::string_view text) {
  append(out, "<text x=\"{}\" y=\"{}\" class=\"{}\">{}</text>\n", x, y, anchor, text);
}

int label_every(std::size_t count) {
  if (count <= 12) return 1;
  return count <= 64 ? 4 : 8;
}

// A heat map being drawn, and its dimensions.
struct Grid {
  explicit Grid(const HeatMap& drawn)
      : map(drawn),
        first(map.first_column_apart ? 1 : 0),
        wide(map.columns.size() > 64 && !map.every_row_labelled),
        gap(wide ? 2 * kGap : kGap),
        apart(map.first_column_apart ? gap : 0) {
    std::size_t longest = map.row_axis.size();
    for (const HeatRow& row : map.rows) longest = std::max(longest, row.label.size());
    const int letters = static_cast<int>(std::min<std::size_t>(longest, 60));
    left = letters * (wide ? kWideChar : kChar) + gap;
    width = left + apart + static_cast<int>(map.columns.size()) * kPitch + kPitch / 2;
    height = 2 * kLabel + static_cast<int>(map.rows.size()) * kPitch;
  }

  int x(std::size_t column) const {
    return left + static_cast<int>(column) * kPitch + (column >= first ? apart : 0);
  }
  static int y(std::size_t row) { return 2 * kLabel + static_cast<int>(row) * kPitch; }

  const HeatMap& map;
  std::size_t first = 0;  // the first column that is not set apart
  bool wide = false;
  int gap = 0, apart = 0;
  int left = 0, width = 0, height = 0;
};

void append_axes(std::string& out, const Grid& grid) {
  const HeatMap& map = grid.map;
  append_label(out, grid.x(grid.first), kLabel - 4, "start",
               html_text(map.column_axis + " \u2192"));
  append_label(out, grid.left - grid.gap, 2 * kLabel - 4, "end", html_text(map.row_axis));
  const auto column_every = static_cast<std::size_t>(
      label_every(map.columns.size() - std::min(map.columns.size(), grid.first)));
  for (std::size_t column = 0; column < map.columns.size(); ++column) {
    const bool shown = column < grid.first || (column - grid.first) % column_every == 0;
    if (!shown) continue;
    append_label(out, grid.x(column) + kPitch / 2, 2 * kLabel - 4, "middle",
                 html_text(map.columns[column]));
  }
  const std::size_t row_every =
      map.every_row_labelled ? 1 : static_cast<std::size_t>(label_every(map.rows.size()));
  for (std::size_t row = 0; row < map.rows.size(); row += row_every)
    append_label(out, grid.left - grid.gap, Grid::y(row) + 8, "end",
                 html_text(map.rows[row].label));
}

void append_cells(std::string& out, const Grid& grid, std::size_t row) {
  // One group per row, and relative paths: with thousands of cells, every byte counts.
  append(out, "<g transform=\"translate(0 {})\">\n", Grid::y(row));
  const std::vector<HeatCell>& cells = grid.map.rows[row].cells;
  for (std::size_t column = 0; column < cells.size(); ++column) {
    const HeatCell& cell = cells[column];
    if (cell.color == kAbsent) continue;
    const char color = cell.color == kExact ? 'x' : static_cast<char>('0' + cell.color);
    append(out, "<path class=\"c{}\" d=\"M{} 0h9v9h-9z\"><title>{}</title></path>\n", color,
           grid.x(column), html_text(cell.title));
  }
  out += "</g>\n";
}

using Counts = std::array<std::uint64_t, 256>;

constexpr int kPlotHeight = 130;
constexpr int kPlotTop = 8;
constexpr int kSlot = 22;  // per scale: a bar each for A and B, or one wide bar
constexpr int kBars = 18;

// Maps counts to bar heights. A count of 1 must be visible, so the axis starts a little below it.
struct LogAxis {
  explicit LogAxis(std::uint64_t most)
      : decades(std::max(1.0, std::ceil(std::log10(static_cast<double>(most))))) {}
  double height(double count) const {
    constexpr double kBefore = 0.4;
    return (std::log10(count) + kBefore) / (decades + kBefore) * kPlotHeight;
  }
  double decades;
};

void append_gridlines(std::string& out, const LogAxis& axis, int left, int width) {
  std::uint64_t count = 1;
  for (int decade = 0; decade <= static_cast<int>(axis.decades) && decade < 20; ++decade) {
    const double y = kPlotTop + kPlotHeight - axis.height(static_cast<double>(count));
    append(out, "<path class=\"grid\" d=\"M{} {:.1f}H{}\"/>\n", left, y, width);
    append_label(out, left - 4, static_cast<int>(y) + 3, "end", grouped(count));
    count *= 10;
  }
}

void append_bar(std::string& out, const LogAxis& axis, int x, int width, std::size_t scale,
                char side, std::uint64_t count) {
  if (count == 0) return;
  const double height = axis.height(static_cast<double>(count));
  append(out,
         "<path class=\"h{}\" d=\"M{} {}v-{:.1f}h{}v{:.1f}z\"><title>{}: scale byte {}, "
         "{}</title></path>\n",
         side, x, kPlotTop + kPlotHeight, height, width, height, side == 'a' ? 'A' : 'B', scale,
         plural(count, "block"));
}

}  // namespace

ColorSteps ColorSteps::decibels(std::vector<double> values) {
  ColorSteps result;
  result.higher_is_better_ = true;
  const bool negative = std::ranges::any_of(values, [](double value) { return value < 0; });
  std::erase_if(values, [](double value) { return value < 0 || !std::isfinite(value); });
  if (negative) result.steps_.push_back({-kInfinity, kColors - 1, "below 0 dB"});
  if (values.empty()) return result;
  std::ranges::sort(values);
  // The lowest must stand out; the highest few must not use up the others' colors.
  const double low = values.front();
  const double high = std::max(low, values[(values.size() - 1) * 98 / 100]);
  const double step = round_step(low, std::nextafter(high, kInfinity), kColors - 1, 1);
  const auto first = static_cast<std::int64_t>(std::floor(low / step));
  const auto last = static_cast<std::int64_t>(std::floor(high / step));
  const int count = static_cast<int>(last - first) + 1;
  const int colors = negative ? kColors - 1 : kColors;
  constexpr double kGood = 50;  // dB: barely worth a color
  const double badness = std::clamp(1 - low / kGood, 0.0, 1.0);
  for (int i = 0; i < count; ++i) {
    const double from = static_cast<double>(first + i) * step;
    const bool open = i + 1 == count && values.back() >= from + step;
    result.steps_.push_back({from, spread(count - 1 - i, count, colors, badness),
                             open ? fmt::format("{:g} dB or more", from)
                                  : fmt::format("{:g} to {:g} dB", from, from + step)});
  }
  return result;
}

ColorSteps ColorSteps::shares(const std::vector<double>& percents) {
  ColorSteps result;
  if (percents.empty()) return result;
  const auto [low, high] = std::ranges::minmax(percents);
  std::vector<double> limits;
  if (high > 20 * low) {  // powers of ten
    const int last = static_cast<int>(std::ceil(std::log10(high)));
    const int first = std::max(static_cast<int>(std::floor(std::log10(low))), last - kColors);
    for (int i = first; i <= last; ++i) limits.push_back(std::pow(10, i));
  } else {
    const double step = round_step(low, high, kColors, high / 20);
    // A single value on a limit belongs to the step below it: nothing is above 100 %.
    const double first = std::min(std::floor(low / step), std::ceil(high / step) - 1);
    const int count = static_cast<int>(std::ceil(high / step) - first);
    for (int i = 0; i <= count; ++i) limits.push_back((first + i) * step);
  }
  const int count = static_cast<int>(limits.size()) - 1;
  // Quantizing changes all blocks, so a high share must not look alarming.
  constexpr double kCalm = 0.6;
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const bool open = i == 0 && low < limits[0];
    result.steps_.push_back({limits[at],
                             spread(i, count, kColors, kCalm * std::min(high / 100, 1.0)),
                             open ? fmt::format("up to {:g} %", limits[1])
                                  : fmt::format("{:g} to {:g} %", limits[at], limits[at + 1])});
  }
  return result;
}

int ColorSteps::color(double value) const noexcept {
  int found = kAbsent;
  for (const Step& step : steps_) {
    if (found == kAbsent || step.from <= value) found = step.color;
  }
  return found;
}

std::string ColorSteps::legend(std::string_view exact) const {
  std::string out = "<ul class=\"legend\">\n";
  if (!exact.empty()) append(out, "<li><span class=\"key cx\"></span>{}</li>\n", html_text(exact));
  std::vector<Step> steps = steps_;
  if (higher_is_better_) std::ranges::reverse(steps);
  for (const Step& step : steps)
    append(out, "<li><span class=\"key c{}\"></span>{}</li>\n", step.color, step.words);
  return out + "</ul>\n";
}

std::string heat_map(const HeatMap& map) {
  const Grid grid(map);
  std::string out;
  open_picture(out, grid.width, grid.height, html_text(map.description), grid.wide);
  append_axes(out, grid);
  for (std::size_t row = 0; row < map.rows.size(); ++row) append_cells(out, grid, row);
  close_picture(out);
  return out;
}

std::string scale_histogram(const Counts& a, const Counts& b) {
  std::size_t first = a.size(), last = 0;
  std::uint64_t most = 0;
  for (std::size_t scale = 0; scale < a.size(); ++scale) {
    if (a[scale] == 0 && b[scale] == 0) continue;
    first = std::min(first, scale);
    last = scale;
    most = std::max({most, a[scale], b[scale]});
  }
  if (most == 0) return "";
  const LogAxis axis(most);
  const int bar = a == Counts{} || b == Counts{} ? kBars : kBars / 2;
  const int left = static_cast<int>(grouped(most).size() + 2) * kChar + 4;
  const int width = left + static_cast<int>(last - first + 1) * kSlot + 4;
  std::string out;
  open_picture(out, width, kPlotTop + kPlotHeight + 22, "Blocks by scale", false);
  append_gridlines(out, axis, left, width);
  for (std::size_t scale = first; scale <= last; ++scale) {
    const int x = left + static_cast<int>(scale - first) * kSlot + 2;
    append_bar(out, axis, x, bar, scale, 'a', a[scale]);
    append_bar(out, axis, x + kBars - bar, bar, scale, 'b', b[scale]);
    append(out, "<text x=\"{}\" y=\"{}\" class=\"middle\">{}</text>\n", x + kBars / 2,
           kPlotTop + kPlotHeight + 14,
           scale == 255 ? "NaN"
                        : fmt::format("2<tspan dy=\"-3\" class=\"up\">{}</tspan>",
                                      static_cast<int>(scale) - 127));
  }
  close_picture(out);
  return out;
}

std::string scale_html(std::size_t scale) {
  if (scale == 255) return "NaN";
  return fmt::format("2<sup>{}</sup>", static_cast<int>(scale) - 127);
}

}  // namespace mxferry::internal
