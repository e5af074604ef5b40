#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "gpt_oss/probe.h"
#include "tests/gpt_oss/catalogs.h"
#include "tests/gpt_oss/findings.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using enum ParameterKind;

// hidden != intermediate, but one of the two weights may still be square.
struct Sizes {
  std::int64_t hidden;
  std::int64_t inner;
  const char* square;  // the one whose shape does not tell
  const char* sibling;
};
const std::vector<Sizes>& square_sizes() {
  static const std::vector<Sizes> all = {{64, 64, kDown, kGateUp}, {128, 64, kGateUp, kDown}};
  return all;
}

GptOssConfig config_of(const Sizes& sizes) {
  GptOssConfig config = kConfig;
  config.hidden_size = sizes.hidden;
  config.intermediate_size = sizes.inner;
  return config;
}

TEST(ProbeOrientation, GoesByTheShapeOrTheSibling) {
  std::vector<Sizes> all = square_sizes();
  all.push_back({64, 96, "", ""});
  for (const Sizes& sizes : all) {
    for (const Layout layout : {Layout::hf, Layout::nemo, Layout::original, Layout::torchtitan,
                                Layout::unsloth, Layout::mlx, Layout::compressed_tensors}) {
      for (const bool swapped : {false, true}) {
        if (swapped && has_gate_and_up_apart(layout)) continue;
        const GptOssConfig config = config_of(sizes);
        const Description description =
            probe(make_catalog({.layout = layout, .swapped = swapped}, config), {}, config);
        for (const ParameterKind kind : {gate_up_weight, down_weight}) {
          const AxisOrder usual = layout_row(layout, "flex", kind).order;
          EXPECT_EQ(parameter(description, kind, 1).form.order, swapped ? flipped(usual) : usual)
              << name(layout) << ' ' << sizes.hidden << ' ' << sizes.inner;
        }
        // Two layers of two weights, each with a warning where it lies the other way.
        const auto found = findings(description);
        EXPECT_EQ(found.size(), swapped ? 4U : 0U);
        for (const Finding& finding : found) {
          EXPECT_EQ(finding, warning(ErrorCode::unknown_orientation, finding.tensor));
        }
      }
    }
  }
}

TEST(ProbeOrientation, GateAndUpApartHaveWholeRowsWhateverIsForced) {
  GptOssConfig config = kConfig;
  config.hidden_size = 2 * config.intermediate_size;  // gate and up together are square
  for (const Layout layout : {Layout::mlx, Layout::compressed_tensors}) {
    const Description description = probe(make_catalog({.layout = layout}, config), {}, config,
                                          {.forced = AxisOrder::in_out, .measured = {}});
    EXPECT_EQ(parameter(description, gate_up_weight, 1).form.order, AxisOrder::out_in);
  }
}

TEST(ProbeOrientation, IsUnknownForASquareWithoutItsSibling) {
  for (const Sizes& sizes : square_sizes()) {
    const GptOssConfig config = config_of(sizes);
    const Catalog catalog = without(make_catalog({}, config), sizes.sibling);
    const auto found = findings(probe(catalog, {}, config));
    EXPECT_EQ(found[0], fatal(ErrorCode::unknown_orientation, sizes.square));
  }
}

TEST(ProbeOrientation, GoesByTheUserOrTheWeightsForASquareWithoutItsSibling) {
  for (const Sizes& sizes : square_sizes()) {
    const GptOssConfig config = config_of(sizes);
    const Catalog catalog = without(make_catalog({}, config), sizes.sibling);
    const Description unknown = probe(catalog, {}, config);
    ASSERT_FALSE(unknown.square.empty());
    const auto lone = std::ranges::find_if(
        unknown.square, [&](std::size_t tensor) { return catalog[tensor].name == sizes.square; });
    ASSERT_NE(lone, unknown.square.end());
    for (const AxisOrder order : {AxisOrder::in_out, AxisOrder::out_in}) {
      const Orientations by_user{.forced = order, .measured = {}};
      const Orientations by_weights{.forced = {}, .measured = {{*lone, order}}};
      for (const Orientations& orientations : {by_user, by_weights}) {
        const Description description = probe(catalog, {}, config, orientations);
        const auto found = std::ranges::find_if(
            description.parameters,
            [&](const SourceParameter& parameter) { return parameter.form.tensor == *lone; });
        ASSERT_NE(found, description.parameters.end());
        EXPECT_EQ(found->form.order, order);
      }
    }
  }
}

// The silent transpose: names and shapes are as they should be, the weights lie the other way.
TEST(ProbeOrientation, WarnsLoudlyWhereTheWeightsContradict) {
  const GptOssConfig config = config_of(square_sizes()[0]);
  const Catalog catalog = make_catalog({}, config);
  const Description plain = probe(catalog, {}, config);
  EXPECT_TRUE(findings(plain).empty());
  ASSERT_FALSE(plain.square.empty());
  const std::size_t tensor = plain.square[0];
  const auto measured = [&](AxisOrder order) {
    return probe(catalog, {}, config, {.forced = {}, .measured = {{tensor, order}}});
  };
  EXPECT_TRUE(findings(measured(AxisOrder::in_out)).empty());
  const Description contradicted = measured(AxisOrder::out_in);
  ASSERT_EQ(contradicted.problems.size(), 1U);
  EXPECT_EQ(contradicted.problems[0].severity, Severity::warning);
  EXPECT_EQ(contradicted.problems[0].tensor, catalog[tensor].name);
  EXPECT_NE(contradicted.problems[0].text.find("PROBABLY TRANSPOSED"), std::string::npos);
}

TEST(ProbeOrientation, IsUnknownForASquareWhoseSiblingIsPacked) {
  const GptOssConfig config = config_of(square_sizes()[0]);
  Catalog catalog =
      without(make_catalog({.packed = true}, config), "0.mlp.experts.down_proj_blocks");
  catalog = with(without(catalog, "0.mlp.experts.down_proj_scales"),
                 stored_tensor(kDown, DType::BF16, {3, 64, 64}));
  EXPECT_EQ(findings(probe(catalog, {}, config)),
            Findings({fatal(ErrorCode::unknown_orientation, kDown)}));
}

TEST(ProbeOrientation, RefusesASquareOfAnotherSize) {
  const GptOssConfig config = config_of(square_sizes()[0]);
  const Catalog catalog = reshaped(make_catalog({}, config), kDown, DType::BF16, {3, 64, 32});
  EXPECT_EQ(findings(probe(catalog, {}, config)), Findings({fatal(ErrorCode::wrong_shape, kDown)}));
}

}  // namespace
}  // namespace mxferry::internal
