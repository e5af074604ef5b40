#include "recipe/recipe.h"

#include <gtest/gtest.h>

#include <vector>

namespace mxferry::internal {
namespace {

constexpr std::int64_t kExperts = 3;
constexpr std::int64_t kRows = 10;
constexpr std::int64_t kColumns = 64;
constexpr std::uint64_t kWeights = kExperts * kRows * kColumns;

struct Sizes {
  Operation operation;
  DType from;
  DType to;
  std::uint64_t source;
  std::uint64_t target;
};

TEST(Recipe, CountsTheBytesThatItReadsAndWrites) {
  const std::vector<Sizes> table = {
      {Operation::copy, DType::F32, DType::F32, kWeights, kWeights},
      {Operation::cast, DType::BF16, DType::F32, kWeights * 2, kWeights * 4},
      {Operation::cast, DType::F32, DType::F16, kWeights * 4, kWeights * 2},
      {Operation::transpose, DType::BF16, DType::BF16, kWeights * 2, kWeights * 2},
      {Operation::transpose, DType::F16, DType::F32, kWeights * 2, kWeights * 4},
      {Operation::decode, DType::U8, DType::BF16, kWeights / 32 * 17, kWeights * 2},
      {Operation::decode, DType::U8, DType::F32, kWeights / 32 * 17, kWeights * 4},
  };
  for (const Sizes& row : table) {
    const Recipe recipe{.operation = row.operation,
                        .from = row.from,
                        .to = row.to,
                        .experts = kExperts,
                        .rows = kRows,
                        .columns = kColumns};
    EXPECT_EQ(source_bytes(recipe), row.source) << static_cast<int>(row.operation);
    EXPECT_EQ(target_bytes(recipe), row.target) << static_cast<int>(row.operation);
  }
}

TEST(Recipe, OfNothingHasNoBytes) {
  for (const Operation operation :
       {Operation::copy, Operation::cast, Operation::transpose, Operation::decode}) {
    const Recipe recipe{.operation = operation,
                        .from = DType::F32,
                        .to = DType::BF16,
                        .experts = 0,
                        .rows = kRows,
                        .columns = kColumns};
    EXPECT_EQ(source_bytes(recipe), 0U);
    EXPECT_EQ(target_bytes(recipe), 0U);
  }
}

TEST(Recipe, HoldsMoreThanFourGigabytes) {
  // gate_up of one layer of gpt-oss-120b.
  const Recipe recipe{.operation = Operation::decode,
                      .to = DType::BF16,
                      .experts = 128,
                      .rows = 5760,
                      .columns = 2880};
  EXPECT_EQ(source_bytes(recipe), 1'061'683'200U + 66'355'200U);
  EXPECT_EQ(target_bytes(recipe), 4'246'732'800U);
}

TEST(AxisOrder, FlipsThereAndBack) {
  EXPECT_EQ(flipped(AxisOrder::out_in), AxisOrder::in_out);
  EXPECT_EQ(flipped(flipped(AxisOrder::in_out)), AxisOrder::in_out);
}

}  // namespace
}  // namespace mxferry::internal
