#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "mxferry/verify.h"
#include "report/html.h"
#include "report/svg.h"

namespace mxferry::internal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kLayers = 3;
constexpr std::int64_t kExperts = 5, kRows = 12, kColumns = 64;

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1))
    ++found;
  return found;
}

// Weights of one expert of which some differ by so much that the SQNR is `decibels`.
Difference some_difference(std::uint64_t different, double decibels) {
  Difference difference;
  difference.weights = kRows * kColumns;
  difference.blocks = difference.weights / 32;
  difference.different = different;
  difference.blocks_changed = std::min(different, difference.blocks);
  difference.signal = 1;
  difference.noise = different == 0 ? 0 : std::pow(10, -decibels / 10);
  return difference;
}

void add(Difference& total, const Difference& part) {
  total.weights += part.weights;
  total.different += part.different;
  total.blocks += part.blocks;
  total.blocks_changed += part.blocks_changed;
  total.signal += part.signal;
  total.noise += part.noise;
}

ComparedParameter experts_weights(int layer, const std::string& kind, std::uint64_t different) {
  ComparedParameter parameter;
  parameter.tensor_a = parameter.tensor_b = "layers." + std::to_string(layer) + "." + kind;
  parameter.kind = kind;
  parameter.layer = layer;
  parameter.shape = {kExperts, kRows, kColumns};
  parameter.codec_a = "bf16";
  parameter.codec_b = "mxfp4";
  for (int expert = 0; expert < kExperts; ++expert) {
    // The first expert is exact.
    parameter.experts.push_back(
        some_difference(expert == 0 ? 0 : different, 20 + 2 * layer + expert));
    add(parameter.total, parameter.experts.back());
  }
  if (different > 0) parameter.worst = WeightPair{3, 7, 41, 0.25, 0.375};
  return parameter;
}

ComparedParameter norm(int layer) {
  ComparedParameter parameter;
  parameter.tensor_a = parameter.tensor_b = "layers." + std::to_string(layer) + ".norm";
  parameter.kind = "attention norm";
  parameter.layer = layer;
  parameter.shape = {kColumns};
  parameter.codec_a = parameter.codec_b = "bf16";
  parameter.bytes_identical = true;
  parameter.total.weights = kColumns;
  return parameter;
}

VerifyReport some_report(std::uint64_t different) {
  VerifyReport report;
  report.a = "/somewhere/before";
  report.b = "/somewhere/after";
  report.layout_a = Layout::nemo;
  for (int layer = 0; layer < kLayers; ++layer) {
    report.parameters.push_back(experts_weights(layer, "experts' down projection", different));
    report.parameters.push_back(
        experts_weights(layer, "experts' gate and up projection", different));
    report.parameters.push_back(norm(layer));
  }
  for (const ComparedParameter& parameter : report.parameters) add(report.total, parameter.total);
  report.scales_b[127] = 1234567;
  report.scales_b[117] = 8;
  report.bytes_read = 26'300'000'000;
  report.seconds = 8.44;
  return report;
}

// The first thing that is wrong with the nesting of the tags; "" if nothing is.
std::string nesting_problem(std::string_view page) {
  constexpr std::array<std::string_view, 4> kVoid = {"meta", "br", "wbr", "!DOCTYPE"};
  std::vector<std::string> open;
  for (std::size_t at = page.find('<'); at != std::string_view::npos; at = page.find('<', at)) {
    const std::size_t end = page.find('>', at);
    if (end == std::string_view::npos) return "a tag without end";
    std::string_view tag = page.substr(at + 1, end - at - 1);
    at = end;
    if (tag.find('<') != std::string_view::npos) return "a tag in a tag: " + std::string(tag);
    if (tag.ends_with('/')) continue;
    const bool closes = tag.starts_with('/');
    if (closes) tag.remove_prefix(1);
    const std::string name(tag.substr(0, tag.find(' ')));
    if (std::ranges::count(kVoid, name) > 0) continue;
    if (!closes) {
      open.push_back(name);
    } else if (open.empty() || open.back() != name) {
      return "closes what is not open: " + name;
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : "left open: " + open.back();
}

// What holds for every page.
void expect_sound(const std::string& page) {
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  EXPECT_EQ(nesting_problem(page), "");
  EXPECT_TRUE(
      std::ranges::all_of(page, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }));
  EXPECT_THAT(page, HasSubstr("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
  for (const char* loads : {"<script", "<img", "<link", "<iframe", " src=", "url(", "@import",
                            "http://", "https://", " onload=", "javascript:"})
    EXPECT_THAT(page, Not(HasSubstr(loads)));
}

TEST(HtmlReport, SaysWhatWasFound) {
  const VerifyReport report = some_report(700);
  const std::string page = html_report(report);
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("<h1>" + html_text(report.verdict()) + "</h1>"));
  EXPECT_THAT(page, HasSubstr("Values differ"));
  EXPECT_THAT(page, HasSubstr("<code>/<wbr>somewhere/<wbr>before</code>"));
  EXPECT_THAT(page, HasSubstr("A: nemo layout, experts in bf16"));
  EXPECT_THAT(page, HasSubstr("B: hf layout, experts in mxfp4"));
  EXPECT_THAT(page, HasSubstr("16,800 of 23,232"));  // 2 kinds, 3 layers, 4 experts, 700 weights
  EXPECT_THAT(page, HasSubstr("26.3 GB"));
  EXPECT_THAT(page, HasSubstr("expert 3, row 7, column 41"));
  EXPECT_THAT(page, HasSubstr("0.25 &#8594; 0.375"));
}

TEST(HtmlReport, HasOneCellForEveryLayerAndExpertInEachMap) {
  const std::string page = html_report(some_report(700));
  for (int layer = 0; layer < kLayers; ++layer)
    for (int expert = 0; expert < kExperts; ++expert)
      EXPECT_EQ(count(page, "<title>layer " + std::to_string(layer) + ", expert " +
                                std::to_string(expert) + ": "),
                4U);  // two projections, two measures
  EXPECT_EQ(count(page, ", all experts: "), 4U * kLayers);
  EXPECT_THAT(page, HasSubstr("<title>layer 2, expert 4: 28.0 dB</title>"));
  EXPECT_THAT(page, HasSubstr("<title>layer 2, expert 4: 100 %, 24 of 24</title>"));
}

TEST(HtmlReport, MarksExactExperts) {
  const std::string page = html_report(some_report(700));
  EXPECT_EQ(count(page, ", expert 0: exact</title>"), 2U * kLayers);
  EXPECT_EQ(count(page, "<path class=\"cx\""), 4U * kLayers);
  EXPECT_EQ(count(page, "<span class=\"key cx\"></span>exact"), 2U);
  EXPECT_EQ(count(page, "<span class=\"key cx\"></span>none"), 2U);
}

TEST(HtmlReport, OfEqualCheckpointsDrawsNoMap) {
  const VerifyReport report = some_report(0);
  ASSERT_TRUE(report.identical());
  const std::string page = html_report(report);
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("Identical values"));
  EXPECT_THAT(page, HasSubstr("there is no map to draw"));
  EXPECT_THAT(page, Not(HasSubstr("<title>layer")));
  EXPECT_THAT(page, Not(HasSubstr("Worst tensors")));
}

TEST(HtmlReport, DrawsOnlyMapsOfWhatDiffers) {
  VerifyReport report = some_report(700);
  std::erase_if(report.parameters, [](const ComparedParameter& parameter) {
    return parameter.kind == "experts' down projection";
  });
  for (int layer = 0; layer < kLayers; ++layer)
    report.parameters.push_back(experts_weights(layer, "experts' down projection", 0));
  const std::string page = html_report(report);
  EXPECT_THAT(page, HasSubstr("<p>No weight differs in 3 layers.</p>"));
  EXPECT_THAT(page, HasSubstr("No weight differs in 3 parameters"));
  EXPECT_EQ(count(page, "layer 0, expert 1: "), 2U);
}

TEST(HtmlReport, DrawsOtherParametersByKindAndLayer) {
  VerifyReport report = some_report(0);
  Difference& total = report.parameters[2].total;
  total = some_difference(1, 70);
  add(report.total, total);
  const std::string page = html_report(report);
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("<title>layer 0, attention norm: 70.0 dB</title>"));
  EXPECT_THAT(page, HasSubstr("<title>layer 1, attention norm: exact</title>"));
  EXPECT_THAT(page, HasSubstr("1 of 3 parameters differ"));
}

TEST(HtmlReport, IsLoudAboutTransposedWeights) {
  VerifyReport report = some_report(700);
  report.parameters[0].transposed = true;
  const std::string page = html_report(report);
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("<header class=\"bad\">"));
  EXPECT_THAT(page, HasSubstr("Transposed weights"));
  EXPECT_THAT(page, HasSubstr("1 parameter transposed"));
  EXPECT_EQ(count(page, "<strong class=\"flag\">transposed</strong>"), 1U);
}

TEST(HtmlReport, ListsFiftyNamesAndCountsTheRest) {
  VerifyReport report = some_report(0);
  for (int i = 0; i < 63; ++i) report.only_b.push_back("extra." + std::to_string(i));
  report.only_a = {"gone"};
  report.mismatched = {"head: [2, 3] in A, [3, 3] in B"};
  const std::string page = html_report(report);
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("Structure differs"));
  EXPECT_THAT(page, HasSubstr("63 tensors only in B"));
  EXPECT_EQ(count(page, "<code>extra."), 50U);
  EXPECT_THAT(page, HasSubstr("and 13 more"));
  EXPECT_THAT(page, HasSubstr("1 tensor only in A"));
  EXPECT_THAT(page, HasSubstr("head: [2, 3] in A"));
}

TEST(HtmlReport, ListsTheTwentyWorstFirstOfAll) {
  VerifyReport report;
  for (int i = 0; i < 30; ++i) {
    report.parameters.push_back(norm(i));
    report.parameters.back().total = some_difference(1, (i * 7) % 30);
    add(report.total, report.parameters.back().total);
  }
  const std::string page = html_report(report);
  const std::string table = page.substr(page.find("<table class=\"cards\">"));
  EXPECT_EQ(count(table, "<tr><th scope=\"row\">"), 20U);
  EXPECT_LT(table.find(">0.0 dB<"), table.find(">1.0 dB<"));
  EXPECT_LT(table.find(">18.0 dB<"), table.find(">19.0 dB<"));
  EXPECT_THAT(table, Not(HasSubstr(">20.0 dB<")));
}

TEST(HtmlReport, EscapesEveryText) {
  const std::string hostile = "<script src=//x>'\"&\x01\x7f\xff\xe2\x80\xae\xc3\xa9</script>";
  const std::string shown =
      "&lt;script src=//x&gt;&#39;&quot;&amp;\\x01\\x7f\\xff\\xe2\\x80\\xae&#233;&lt;/script&gt;";
  VerifyReport report = some_report(700);
  report.a = report.b = hostile;
  report.only_a = report.only_b = report.mismatched = {hostile};
  for (ComparedParameter& parameter : report.parameters) {
    parameter.tensor_a = hostile + "a";
    parameter.tensor_b = parameter.kind = parameter.codec_a = parameter.codec_b = hostile;
    parameter.transposed = true;
    if (parameter.total.different == 0) parameter.total = some_difference(1, 70);
  }
  report.parameters.push_back(norm(0));
  report.parameters.back().layer.reset();
  report.parameters.back().tensor_b = hostile;
  report.parameters.back().total = some_difference(1, 70);
  std::string page = html_report(report);
  for (std::size_t at = page.find("<wbr>"); at != std::string::npos; at = page.find("<wbr>", at))
    page.erase(at, 5);
  EXPECT_GT(count(page, shown), 40U);
  // What is left must not hold any of it.
  for (std::size_t at = page.find(shown); at != std::string::npos; at = page.find(shown, at))
    page.erase(at, shown.size());
  expect_sound(page);
  EXPECT_THAT(page, Not(HasSubstr("script")));
}

TEST(HtmlReport, TakesNumbersThatAreNotFinite) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  VerifyReport report = some_report(700);
  ComparedParameter& parameter = report.parameters[0];
  parameter.experts[1].signal = parameter.experts[1].noise = 0;  // only NaN differ
  parameter.experts[2].signal = 0;                               // A is all zeros
  parameter.worst = WeightPair{0, 0, 0, -kInfinity, std::numeric_limits<double>::quiet_NaN()};
  report.parameters[1].worst.reset();
  const std::string page = html_report(report);
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("layer 0, expert 1: only NaN or infinite weights differ"));
  EXPECT_THAT(page, HasSubstr("layer 0, expert 2: A is all zeros"));
  EXPECT_THAT(page, HasSubstr("<li><span class=\"key c7\"></span>below 0 dB</li>"));
  EXPECT_THAT(page, HasSubstr("-inf &#8594; nan"));
}

TEST(HtmlReport, OfNothingIsAPage) {
  expect_sound(html_report(VerifyReport{}));
}

TEST(HtmlReport, OfTheLargestModelIsSmallEnoughToMail) {
  VerifyReport report;
  for (int layer = 0; layer < 36; ++layer)
    for (const char* kind : {"experts' down projection", "experts' gate and up projection"}) {
      report.parameters.push_back(experts_weights(layer, kind, 700));
      report.parameters.back().experts.resize(128, some_difference(123'456'789, 23.4));
    }
  report.total = some_difference(1, 20);
  EXPECT_LT(html_report(report).size(), 2'000'000U);
}

TEST(ScaleHistogram, GoesFromTheSmallestToTheLargestScaleUsed) {
  const std::string page = html_report(some_report(700));
  EXPECT_THAT(page, HasSubstr("<title>B: scale byte 127, 1,234,567 blocks</title>"));
  EXPECT_THAT(page, HasSubstr("class=\"up\">-10</tspan>"));
  EXPECT_THAT(page, HasSubstr("class=\"up\">0</tspan>"));
  EXPECT_EQ(count(page, "class=\"up\">"), 11U);
  EXPECT_THAT(page, HasSubstr("<td>117</td><td>0</td><td>8</td>"));
  EXPECT_THAT(page, Not(HasSubstr("<title>A: scale")));
  EXPECT_EQ(scale_histogram({}, {}), "");
  EXPECT_EQ(scale_html(255), "NaN");
  EXPECT_EQ(scale_html(0), "2<sup>-127</sup>");
}

TEST(ColorSteps, GrowWorseWithTheMeasure) {
  const ColorSteps decibels = ColorSteps::decibels({-3, 8, 20, 31.5, 35});
  EXPECT_EQ(decibels.color(-3), kColors - 1);
  EXPECT_EQ(decibels.color(-std::numeric_limits<double>::infinity()), kColors - 1);
  EXPECT_GT(decibels.color(8), decibels.color(20));
  EXPECT_GT(decibels.color(20), decibels.color(31.5));
  EXPECT_LT(decibels.color(8), kColors - 1);
  const ColorSteps shares = ColorSteps::shares({0.0001, 0.02, 5, 100});
  EXPECT_LT(shares.color(0.0001), shares.color(0.02));
  EXPECT_LT(shares.color(5), shares.color(100));
  EXPECT_EQ(shares.color(100), kColors - 1);
}

TEST(ColorSteps, CoverWhateverOccurs) {
  for (const std::vector<double>& values : {std::vector<double>{100},
                                            {99.9, 100},
                                            {1e-7},
                                            {1e-12, 100},
                                            {1, 20},
                                            {1, 21},
                                            {0.1, 0.1},
                                            {60, 80, 100},
                                            {33.3},
                                            {5000},
                                            {0, 1e-9},
                                            {30.01, 30.02}}) {
    for (const double value : values) {
      const int color = ColorSteps::decibels(values).color(value);
      EXPECT_TRUE(color >= 0 && color < kColors) << value << ": " << color;
      if (value <= 0) continue;
      const int share = ColorSteps::shares({value, values.back()}).color(value);
      EXPECT_TRUE(share >= 0 && share < kColors) << value << ": " << share;
    }
  }
  EXPECT_THAT(ColorSteps::shares({100}).legend(""), HasSubstr("95 to 100 %"));
}

TEST(HtmlText, WritesNumbersForPeople) {
  EXPECT_EQ(percent(0, 7), "0 %");
  EXPECT_EQ(percent(7, 7), "100 %");
  EXPECT_EQ(percent(1, 3), "33.33 %");
  EXPECT_EQ(percent(612, 9216000), "0.0066 %");
  EXPECT_EQ(percent(1, 9216000000), "under 0.0001 %");
  EXPECT_EQ(percent(9215999, 9216000), "almost 100 %");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(999'999), "1.0 MB");
  EXPECT_EQ(human_bytes(26'300'000'000), "26.3 GB");
  EXPECT_EQ(human_seconds(8.44), "8.4 s");
  EXPECT_EQ(human_seconds(125), "2 min 5 s");
}

TEST(HtmlText, ShowsWhatNobodyCouldSee) {
  EXPECT_EQ(html_text("a\xe2\x80\x8b"
                      "b\xef\xbb\xbf\xef\xbf\xbf\xc2\xad"),
            "a\\xe2\\x80\\x8bb\\xef\\xbb\\xbf\\xef\\xbf\\xbf\\xc2\\xad");
  EXPECT_EQ(html_text("\xf0\x9f\x98\x80 \xe4\xb8\xad"), "&#128512; &#20013;");
}

}  // namespace
}  // namespace mxferry::internal
