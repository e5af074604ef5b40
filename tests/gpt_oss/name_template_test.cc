#include "gpt_oss/name_template.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mxferry::internal {
namespace {

TEST(NameTemplate, IsFilledAndRecognized) {
  struct Row {
    const char* name;
    std::optional<DType> dtype;
    const char* name_template;
    std::int64_t expert;
    std::int64_t half;
  };
  const std::vector<Row> table = {
      {"a.layers.0.mlp.experts.down_projs.12.weight", DType::BF16,
       "a.layers.0.mlp.experts.down_projs.{E}.weight", 12, 0},
      {"layers.3.mlp.experts.down_projs.0.bias",
       {},
       "layers.3.mlp.experts.down_projs.{E}.bias",
       0,
       0},
      {"layers.1.mlp.experts.up_proj.scales", DType::U8,
       "layers.1.mlp.experts.{gate|up}_proj.scales", 0, 1},
      {"layers.1.mlp.experts.gate_proj.weight", DType::U32,
       "layers.1.mlp.experts.{gate|up}_proj.weight (U32)", 0, 0},
      {"layers.1.mlp.experts.gate_proj.weight", DType::F16,
       "layers.1.mlp.experts.{gate|up}_proj.weight", 0, 0},
      {"layers.1.mlp.experts.down_proj.weight", DType::U32,
       "layers.1.mlp.experts.down_proj.weight (U32)", 0, 0},
      {"layers.1.mlp.experts.7.up_proj.weight_packed", DType::U8,
       "layers.1.mlp.experts.{E}.{gate|up}_proj.weight_packed (U8)", 7, 1},
      {"layers.1.mlp.experts.7.up_proj.weight", DType::BF16,
       "layers.1.mlp.experts.{E}.{gate|up}_proj.weight", 7, 1},
  };
  for (const Row& row : table) {
    const auto member = parse_member(row.name, row.dtype);
    ASSERT_TRUE(member) << row.name;
    EXPECT_EQ(member->name_template, row.name_template);
    EXPECT_EQ(member->expert, row.expert) << row.name;
    EXPECT_EQ(member->half, row.half) << row.name;
    EXPECT_EQ(member_name(*member), row.name);
  }
}

TEST(NameTemplate, TakesAnyDTypeWhereNoneFits) {
  const auto member = parse_member("layers.1.mlp.experts.7.up_proj.weight_packed", DType::I32);
  ASSERT_TRUE(member);
  EXPECT_EQ(dtype_field(member->name_template), DType::U8);
  // But this is the name of dense weights, which no template knows.
  EXPECT_FALSE(parse_member("layers.1.mlp.experts.down_proj.weight", DType::BF16));
}

TEST(NameTemplate, NumbersAreWrittenInOneWay) {
  for (const char* number :
       {"", "01", "-1", "+1", "1x", "{E}", "1000000", "99999999999999999999"}) {
    EXPECT_FALSE(
        parse_member("layers.1.mlp.experts.down_projs." + std::string(number) + ".weight", {}))
        << number;
  }
}

TEST(NameTemplate, StandsInALayerAndBringsItsOwnFields) {
  for (const char* name :
       {"mlp.experts.down_projs.0.weight", "x.mlp.experts.down_projs.0.weight",
        "layers.x.mlp.experts.down_projs.0.weight", "{E}.layers.0.mlp.experts.down_projs.0.weight",
        "layers.0.mlp.experts.down_projs.{E}.weight"}) {
    EXPECT_FALSE(parse_member(name, DType::BF16)) << name;
  }
}

TEST(NameTemplate, OneTensorHasNoFields) {
  for (const char* name :
       {"layers.1.mlp.experts.gate_up_proj_blocks", "layers.1.mlp.experts.down_proj",
        "block.0.mlp.mlp1_weight.blocks", ""}) {
    EXPECT_FALSE(parse_member(name, DType::U8)) << name;
    EXPECT_FALSE(has_fields(name)) << name;
    EXPECT_EQ(member_name({name}), name);
  }
}

}  // namespace
}  // namespace mxferry::internal
