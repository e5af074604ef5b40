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

TEST(StackTensors, MakesOneTensorOfTheExperts) {
  Catalog catalog;
  for (const std::int64_t number : {0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9}) {  // as sorted by name
    catalog.push_back(expert(number));
  }
  catalog.push_back({.name = "other", .shape = {}});
  std::vector<Problem> problems;
  stack_tensors(catalog, problems);
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

TEST(StackTensors, KeepsTheChunksOfRanks) {
  Catalog catalog = {expert(0), expert(1)};
  for (StoredTensor& tensor : catalog) {
    tensor.chunks = {{{0, 0}, {2, 6}, 0, 8}, {{2, 0}, {2, 6}, 1, 16}};
  }
  std::vector<Problem> problems;
  stack_tensors(catalog, problems);
  ASSERT_EQ(catalog.size(), 1U);
  ASSERT_EQ(catalog[0].chunks.size(), 4U);
  EXPECT_EQ(catalog[0].chunks[3].offsets, (Shape{1, 2, 0}));
  EXPECT_EQ(catalog[0].chunks[3].sizes, (Shape{1, 2, 6}));
}

TEST(StackTensors, RefusesWhatIsNoStack) {
  struct Row {
    Catalog catalog;
    const char* text;
  };
  const std::vector<Row> table = {
      {{expert(0), expert(2)}, "down_projs.1.weight' is missing (there are tensors of 3 experts)"},
      {{expert(1), expert(2)}, "down_projs.0.weight' is missing (there are tensors of 3 experts)"},
      {{expert(0), expert(1, {4, 7})}, "down_projs.1.weight' has shape [4, 7]"},
      {{expert(0), expert(1, {4, 6}, DType::F32)}, "dtype F32"},
  };
  for (const Row& row : table) {
    Catalog catalog = row.catalog;
    std::vector<Problem> problems;
    stack_tensors(catalog, problems);
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

constexpr const char* kExperts = "model.layers.0.mlp.experts.";

StoredTensor member(const std::string& name, DType dtype, Shape shape, std::uint64_t offset) {
  const auto bytes = static_cast<std::uint64_t>(element_count(shape) * bits(dtype) / 8);
  return {.name = kExperts + name,
          .dtype = dtype,
          .shape = std::move(shape),
          .offset = offset,
          .byte_count = bytes};
}

TEST(StackTensors, PutsTheRowsOfGateAndUpByTurns) {
  // 2 experts of 3 rows, 2 blocks a row.
  Catalog catalog = {member("gate_proj.weight", DType::U32, {2, 3, 8}, 100),
                     member("up_proj.weight", DType::U32, {2, 3, 8}, 500)};
  std::vector<Problem> problems;
  stack_tensors(catalog, problems);
  EXPECT_TRUE(problems.empty());
  ASSERT_EQ(catalog.size(), 1U);
  const StoredTensor& stack = catalog[0];
  EXPECT_EQ(stack.name, std::string(kExperts) + "{gate|up}_proj.weight (U32)");
  EXPECT_EQ(stack.dtype, DType::U8);
  EXPECT_EQ(stack.shape, (Shape{2, 6, 2, 16}));
  EXPECT_EQ(stack.byte_count, 2U * 2 * 3 * 32);
  EXPECT_EQ(stack.chunk_shape, (Shape{2, 3, 2, 2, 16}));
  ASSERT_EQ(stack.chunks.size(), 2U);
  for (std::size_t half = 0; half < 2; ++half) {
    EXPECT_EQ(stack.chunks[half].offsets, (Shape{0, 0, static_cast<std::int64_t>(half), 0, 0}));
    EXPECT_EQ(stack.chunks[half].sizes, (Shape{2, 3, 1, 2, 16}));
    EXPECT_EQ(stack.chunks[half].offset, half == 0 ? 100U : 500U);
  }
}

TEST(StackTensors, ReadsWhatOtherProgramsCallIt) {
  Catalog catalog = {member("0.down_proj.weight", DType::U8, {4, 48}, 0),
                     member("0.down_proj.weight_quantizer.scale", DType::U8, {4, 3}, 192)};
  std::vector<Problem> problems;
  stack_tensors(catalog, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_THAT(names_of(catalog),
              ElementsAre(std::string(kExperts) + "{E}.down_proj.weight_packed (U8)",
                          std::string(kExperts) + "{E}.down_proj.weight_scale"));
  EXPECT_EQ(catalog[0].shape, (Shape{1, 4, 3, 16}));
}

TEST(StackTensors, RefusesHalvesAndBlocksThatAreNone) {
  struct Row {
    Catalog catalog;
    const char* text;
  };
  const std::vector<Row> table = {
      {{member("gate_proj.weight", DType::U32, {2, 3, 8}, 0)}, "up_proj.weight' is missing"},
      {{member("0.up_proj.bias", DType::BF16, {3}, 0)}, "0.gate_proj.bias' is missing"},
      {{member("down_proj.weight", DType::U32, {2, 3, 7}, 0)}, "not a multiple of 16 bytes"},
      {{member("0.down_proj.weight_packed", DType::I32, {3, 8}, 0)},
       "expected dtype U8, found I32"},
      {{member("gate_proj.bias", DType::BF16, {3}, 0), member("up_proj.bias", DType::BF16, {3}, 9)},
       "has no dimension for rows"},
      {{member("0.down_proj.weight", DType::U8, {4, 48}, 0),
        member("0.down_proj.weight_packed", DType::U8, {4, 48}, 0)},
       "there twice"},
  };
  for (const Row& row : table) {
    Catalog catalog = row.catalog;
    std::vector<Problem> problems;
    stack_tensors(catalog, problems);
    EXPECT_EQ(names_of(catalog), names_of(row.catalog));
    ASSERT_EQ(problems.size(), 1U) << row.text;
    EXPECT_EQ(problems[0].severity, Severity::fatal);
    EXPECT_THAT(problems[0].text, HasSubstr(row.text));
  }
}

TEST(SplitStacks, DealsRowsToGateAndUp) {
  Catalog target = {{.name = std::string(kExperts) + "{gate|up}_proj.weight (U32)",
                     .dtype = DType::U8,
                     .shape = {2, 6, 2, 16},
                     .byte_count = 384,
                     .stacked = 1}};
  std::vector<Recipe> recipes = {{.operation = Operation::copy, .target = 0, .columns = 384}};
  split_stacks(target, recipes);
  ASSERT_EQ(target.size(), 2U);
  ASSERT_EQ(recipes.size(), 1U);
  EXPECT_EQ(recipes[0].columns, 384);
  EXPECT_THAT(names_of(target), ElementsAre(std::string(kExperts) + "gate_proj.weight",
                                            std::string(kExperts) + "up_proj.weight"));
  for (const StoredTensor& tensor : target) {
    EXPECT_EQ(tensor.dtype, DType::U32);
    EXPECT_EQ(tensor.shape, (Shape{2, 3, 8}));
    EXPECT_EQ(tensor.byte_count, 192U);
  }
  ASSERT_TRUE(target[0].odd_rows);
  EXPECT_EQ(target[0].odd_rows->tensor, 1U);
  EXPECT_EQ(target[0].odd_rows->row_bytes, 32U);
  EXPECT_FALSE(target[1].odd_rows);
}

}  // namespace
}  // namespace mxferry::internal
