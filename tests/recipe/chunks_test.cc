#include "recipe/chunks.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mxferry::internal {
namespace {

StoredTensor tensor(std::string name, Shape shape, DType dtype = DType::BF16) {
  const auto bytes = static_cast<std::uint64_t>(element_count(shape)) *
                     static_cast<std::uint64_t>(bits(dtype)) / 8;
  return {std::move(name), dtype, std::move(shape), 0, 0, bytes};
}

std::vector<std::int64_t> lengths(std::int64_t size, std::size_t parts) {
  std::vector<std::int64_t> result;
  for (const StoredTensor& chunk : chunk_recipes({tensor("a", {size, 6})}, {}, parts).target) {
    EXPECT_EQ(chunk.shape[1], 6);
    EXPECT_EQ(chunk.byte_count, static_cast<std::uint64_t>(chunk.shape[0] * 12));
    result.push_back(chunk.shape[0]);
  }
  return result;
}

// What torch.chunk(torch.empty(size), parts) gives.
TEST(ChunkedRecipes, CutsAsTorchDoes) {
  using Lengths = std::vector<std::int64_t>;
  EXPECT_EQ(lengths(6, 1), (Lengths{6}));
  EXPECT_EQ(lengths(6, 3), (Lengths{2, 2, 2}));
  EXPECT_EQ(lengths(5, 3), (Lengths{2, 2, 1}));
  EXPECT_EQ(lengths(5, 4), (Lengths{2, 2, 1}));
  EXPECT_EQ(lengths(6, 5), (Lengths{2, 2, 2}));
  EXPECT_EQ(lengths(2, 5), (Lengths{1, 1}));
  EXPECT_EQ(lengths(0, 3), (Lengths{0}));
}

TEST(ChunkedRecipes, GivesScalarsAndWhatHasNoWholeRowsToTheFirstPart) {
  const ChunkedRecipes cut = chunk_recipes(
      {tensor("scalar", {}), tensor("rows", {4, 3}), tensor("nibbles", {2, 3}, DType::F4)},
      {{.target = 0, .columns = 2}, {.target = 1, .columns = 24}, {.target = 2, .columns = 3}}, 2);
  ASSERT_EQ(cut.target.size(), 4U);
  EXPECT_EQ(cut.parts, 2U);
  EXPECT_EQ(cut.target[0].shape, Shape());
  EXPECT_EQ(cut.target[2].shape, (Shape{2, 3}));
  EXPECT_EQ(cut.target[3].name, "rows");
  EXPECT_EQ(cut.target[3].shard, 1U);
  EXPECT_EQ(cut.begins, (std::vector<std::int64_t>{0, 0, 0, 2}));
  ASSERT_EQ(cut.recipes.size(), 4U);
  EXPECT_EQ(cut.recipes[2].columns, 3);
  EXPECT_EQ(cut.recipes[3].columns, 12);
  EXPECT_EQ(cut.recipes[3].source_offset, 12U);
}

// Two parts of a fused tensor of 3 and 5 rows, cut into 4 and 4.
TEST(ChunkedRecipes, CutsThePartsOfAFusedTensor) {
  const ChunkedRecipes cut = chunk_recipes({tensor("fused", {8, 6}, DType::F32)},
                                           {{.operation = Operation::cast,
                                             .source = 7,
                                             .source_offset = 100,
                                             .from = DType::BF16,
                                             .to = DType::F32,
                                             .columns = 18},
                                            {.operation = Operation::copy,
                                             .source = 8,
                                             .source_offset = 1000,
                                             .target_offset = 72,
                                             .columns = 120}},
                                           2);
  ASSERT_EQ(cut.recipes.size(), 3U);
  const Recipe& whole = cut.recipes[0];
  EXPECT_EQ(whole.source_offset, 100U);
  EXPECT_EQ(whole.columns, 18);
  const Recipe& first = cut.recipes[1];
  EXPECT_EQ(first.target, 0U);
  EXPECT_EQ(first.target_offset, 72U);
  EXPECT_EQ(first.source_offset, 1000U);
  EXPECT_EQ(first.columns, 24);
  const Recipe& second = cut.recipes[2];
  EXPECT_EQ(second.target, 1U);
  EXPECT_EQ(second.target_offset, 0U);
  EXPECT_EQ(second.source_offset, 1024U);
  EXPECT_EQ(second.columns, 96);
}

TEST(ChunkedRecipes, CutsCastsByElements) {
  const ChunkedRecipes cut = chunk_recipes({tensor("a", {6, 4}, DType::F32)},
                                           {{.operation = Operation::cast,
                                             .source_offset = 10,
                                             .from = DType::BF16,
                                             .to = DType::F32,
                                             .columns = 24}},
                                           3);
  ASSERT_EQ(cut.recipes.size(), 3U);
  EXPECT_EQ(cut.recipes[2].source_offset, 10U + 2 * 16);
  EXPECT_EQ(cut.recipes[2].columns, 8);
}

TEST(ChunkedRecipes, CutsExpertsWithTheirScales) {
  const ChunkedRecipes cut = chunk_recipes(
      {tensor("blocks", {5, 6, 2, 16}, DType::U8), tensor("scales", {5, 6, 2}, DType::U8)},
      {{.operation = Operation::encode,
        .source_offset = 10,
        .target = 0,
        .target_scales = 1,
        .reference_scales = 3,
        .experts = 5,
        .rows = 6,
        .columns = 64}},
      2);
  ASSERT_EQ(cut.recipes.size(), 2U);
  const Recipe& second = cut.recipes[1];
  EXPECT_EQ(second.first_expert, 3);
  EXPECT_EQ(second.experts, 2);
  EXPECT_EQ(second.source_offset, 10U);
  EXPECT_EQ(cut.target[second.target].name, "blocks");
  EXPECT_EQ(cut.target[second.target].shape, (Shape{2, 6, 2, 16}));
  EXPECT_EQ(cut.target[second.target_scales].name, "scales");
  EXPECT_EQ(cut.target[second.target_scales].shape, (Shape{2, 6, 2}));
  EXPECT_EQ(second.reference_scales, 3U);
}

}  // namespace
}  // namespace mxferry::internal
