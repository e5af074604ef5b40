#include "gpt_oss/stacks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace mxferry::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kDown = "model.layers.0.mlp.experts.down_projs.";

StoredTensor expert(std::int64_t number, Shape shape = {4, 6}, DType dtype = DType::BF16) {
  const auto bytes = static_cast<std::uint64_t>(element_count(shape) * bits(dtype) / 8);
  return {.name = kDown + std::to_string(number) + ".weight",
          .dtype = dtype,
          .shape = std::move(shape),
          .shard = static_cast<std::size_t>(number % 2),
          .offset = static_cast<std::uint64_t>(100 * number),
          .byte_count = bytes};
}

std::vector<std::string> names_of(const Catalog& catalog) {
  std::vector<std::string> names;
  for (const StoredTensor& tensor : catalog) names.push_back(tensor.name);
  return names;
}

TEST(ExpertName, IsTakenApartAndPutTogether) {
  const std::string stack = std::string(kDown) + "{E}.weight";
  const auto parsed = parse_expert_name(Layout::unsloth, std::string(kDown) + "12.weight");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->stack, stack);
  EXPECT_EQ(parsed->expert, 12);
  EXPECT_EQ(expert_name(stack, 12), std::string(kDown) + "12.weight");
  EXPECT_EQ(expert_name("{E}." + stack, 12), "{E}." + std::string(kDown) + "12.weight");
  for (const char* number :
       {"", "01", "-1", "+1", "1x", "{E}", "1000000", "99999999999999999999"}) {
    EXPECT_FALSE(parse_expert_name(Layout::unsloth, kDown + std::string(number) + ".weight"))
        << number;
  }
  EXPECT_FALSE(parse_expert_name(Layout::hf, std::string(kDown) + "1.weight"));
}

TEST(StackExperts, MakesOneTensorOfTheExperts) {
  Catalog catalog;
  for (const std::int64_t number : {0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9}) {  // as sorted by name
    catalog.push_back(expert(number));
  }
  catalog.push_back({.name = "other", .shape = {}});
  std::vector<Problem> problems;
  stack_experts(catalog, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_THAT(names_of(catalog), ElementsAre(std::string(kDown) + "{E}.weight", "other"));
  const StoredTensor& stack = catalog[0];
  EXPECT_EQ(stack.shape, (Shape{12, 4, 6}));
  EXPECT_EQ(stack.byte_count, 12U * 48);
  EXPECT_EQ(stack.stacked, 12U);
  ASSERT_EQ(stack.chunks.size(), 12U);
  for (std::size_t i = 0; i < stack.chunks.size(); ++i) {
    EXPECT_EQ(stack.chunks[i].offsets, (Shape{static_cast<std::int64_t>(i), 0, 0}));
    EXPECT_EQ(stack.chunks[i].sizes, (Shape{1, 4, 6}));
    EXPECT_EQ(stack.chunks[i].shard, i % 2);
    EXPECT_EQ(stack.chunks[i].offset, 100 * i);
  }
}

TEST(StackExperts, KeepsTheChunksOfRanks) {
  Catalog catalog = {expert(0), expert(1)};
  for (StoredTensor& tensor : catalog) {
    tensor.chunks = {{{0, 0}, {2, 6}, 0, 8}, {{2, 0}, {2, 6}, 1, 16}};
  }
  std::vector<Problem> problems;
  stack_experts(catalog, problems);
  ASSERT_EQ(catalog.size(), 1U);
  ASSERT_EQ(catalog[0].chunks.size(), 4U);
  EXPECT_EQ(catalog[0].chunks[3].offsets, (Shape{1, 2, 0}));
  EXPECT_EQ(catalog[0].chunks[3].sizes, (Shape{1, 2, 6}));
}

TEST(StackExperts, RefusesWhatIsNoStack) {
  struct Row {
    Catalog catalog;
    const char* text;
  };
  const std::vector<Row> table = {
      {{expert(0), expert(2)}, "expert 1 of 3 is missing"},
      {{expert(1), expert(2)}, "expert 0 of 3 is missing"},
      {{expert(0), expert(1, {4, 7})}, "expert 1 has shape [4, 7]"},
      {{expert(0), expert(1, {4, 6}, DType::F32)}, "dtype F32"},
  };
  for (const Row& row : table) {
    Catalog catalog = row.catalog;
    std::vector<Problem> problems;
    stack_experts(catalog, problems);
    EXPECT_EQ(names_of(catalog), names_of(row.catalog));
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_EQ(problems[0].severity, Severity::fatal);
    EXPECT_THAT(problems[0].text, HasSubstr(row.text));
    EXPECT_EQ(problems[0].tensor, std::string(kDown) + "{E}.weight");
  }
}

TEST(SplitStacks, CutsTargetsAndRecipesByExpert) {
  Catalog target = {{.name = std::string(kDown) + "{E}.weight",
                     .dtype = DType::BF16,
                     .shape = {3, 4, 6},
                     .byte_count = 144,
                     .stacked = 3},
                    {.name = "other", .dtype = DType::BF16, .shape = {3}, .byte_count = 6}};
  std::vector<Recipe> recipes = {
      {.operation = Operation::transpose, .target = 0, .experts = 3, .rows = 4, .columns = 6},
      {.operation = Operation::copy, .target = 1, .columns = 6}};
  split_stacks(target, recipes);
  ASSERT_EQ(target.size(), 4U);
  ASSERT_EQ(recipes.size(), 4U);
  for (const Recipe& recipe : recipes) {
    const StoredTensor& tensor = target[recipe.target];
    if (tensor.name == "other") {
      EXPECT_EQ(tensor.shape, Shape{3});
      continue;
    }
    EXPECT_EQ(tensor.name, kDown + std::to_string(recipe.first_expert) + ".weight");
    EXPECT_EQ(tensor.shape, (Shape{4, 6}));
    EXPECT_EQ(tensor.byte_count, 48U);
    EXPECT_EQ(recipe.experts, 1);
  }
}

}  // namespace
}  // namespace mxferry::internal
