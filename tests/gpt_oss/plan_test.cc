#include "gpt_oss/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/natural_order.h"
#include "gpt_oss/stacks.h"
#include "tests/base/expect_error.h"
#include "tests/gpt_oss/catalogs.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

Plan plan(const Catalog& source, const Target& target, const ConfigFacts& config = kConfig) {
  const Description description = probe(source, {}, config);
  for (const Problem& problem : description.problems) {
    EXPECT_NE(problem.severity, Severity::fatal) << problem.text;
  }
  return make_plan(source, description, target);
}

const Recipe& recipe_of(const Plan& plan, std::string_view target) {
  return *std::ranges::find_if(
      plan.recipes, [&](const Recipe& r) { return plan.target[r.target].name == target; });
}

// Every byte of every target once, in the order of the recipes.
void expect_complete(const Plan& plan) {
  std::vector<std::uint64_t> filled(plan.target.size());
  std::size_t last = 0;
  for (const Recipe& recipe : plan.recipes) {
    EXPECT_GE(recipe.target, last);
    last = recipe.target;
    EXPECT_EQ(recipe.target_offset, filled[recipe.target]) << plan.target[recipe.target].name;
    filled[recipe.target] += target_bytes(recipe);
  }
  for (std::size_t i = 0; i < filled.size(); ++i) {
    const auto& odd = plan.target[i].odd_rows;
    if (!odd) continue;
    EXPECT_EQ(filled[odd->tensor], 0U);
    filled[i] = filled[odd->tensor] = filled[i] / 2;
  }
  for (std::size_t i = 0; i < filled.size(); ++i) {
    EXPECT_EQ(filled[i], plan.target[i].byte_count) << plan.target[i].name;
  }
}

// What the recipes read of each tensor.
void expect_all_read(const Plan& plan, const Catalog& source) {
  std::map<std::size_t, std::uint64_t> read;
  for (const Recipe& recipe : plan.recipes) {
    if (recipe.operation == Operation::decode) {
      const std::uint64_t bytes = source_bytes(recipe);
      read[recipe.source] += bytes / 17 * 16;
      read[recipe.source_scales] += bytes / 17;
    } else {
      read[recipe.source] += source_bytes(recipe);
    }
  }
  for (std::size_t i = 0; i < source.size(); ++i) {
    EXPECT_EQ(read[i], source[i].byte_count) << source[i].name;
  }
}

TEST(Plan, LeadsFromAnyFormToAnyOther) {
  std::vector<Stored> forms;
  for (const Layout layout : {Layout::hf, Layout::nemo, Layout::original, Layout::torchtitan,
                              Layout::unsloth, Layout::mlx, Layout::compressed_tensors}) {
    for (const DType dtype : {DType::BF16, DType::F16, DType::F32}) {
      for (const bool swapped : {false, true}) {
        if (swapped && has_gate_and_up_apart(layout)) continue;
        forms.push_back({.layout = layout, .dtype = dtype, .swapped = swapped});
      }
    }
    if (can_pack(layout)) forms.push_back({.layout = layout, .packed = true});
  }
  forms.push_back({.layout = Layout::nemo, .attn = "te"});
  for (const Stored& from : forms) {
    for (const Stored& to : forms) {
      if (to.swapped || (to.packed && !from.packed)) continue;
      const Catalog source = make_catalog(from);
      Target target{.layout = to.layout, .attn = to.attn, .dtype = dense_codec(to.dtype)};
      if (to.packed) target.dtype = Codec::mxfp4;
      const Plan result = plan(source, target);
      Catalog expected = make_catalog(to);
      std::vector<Recipe> none;
      split_stacks(expected, none);
      std::ranges::sort(expected, natural_less, &StoredTensor::name);
      ASSERT_EQ(result.target.size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(result.target[i].name, expected[i].name);
        EXPECT_EQ(result.target[i].dtype, expected[i].dtype) << expected[i].name;
        EXPECT_EQ(result.target[i].shape, expected[i].shape) << expected[i].name;
        EXPECT_EQ(result.target[i].byte_count, expected[i].byte_count) << expected[i].name;
      }
      expect_complete(result);
      expect_all_read(result, source);
      EXPECT_EQ(result.packed, to.packed);
      EXPECT_EQ(result.passed_through.size(), 0U);
    }
  }
}

TEST(Plan, LeavesOutWholeParametersOfSeveralTensors) {
  const Catalog source = make_catalog({});
  struct Row {
    const char* excluded;
    std::size_t count;  // 0: refused
  };
  for (const Layout layout : {Layout::mlx, Layout::compressed_tensors}) {
    const Target all{.layout = layout, .dtype = Codec::mxfp4};
    const std::size_t tensors = plan(source, all).target.size();
    const std::size_t each = layout == Layout::mlx ? 1 : 3;  // one, or one of each expert
    const std::vector<Row> table = {
        {"experts", each * (3 * 2 + 3) * 2},
        {"down_proj", each * 3 * 2},
        {"_proj.bias", (each * 3 + 4) * 2},
        {"gate_proj", 0},
        {"up_proj.bias", 0},
        {"down_proj.weight", layout == Layout::mlx ? 0 : each * 2 * 2},
    };
    for (const Row& row : table) {
      Target target = all;
      target.excluded = [&](std::string_view name) {
        return name.find(row.excluded) != std::string_view::npos;
      };
      if (row.count == 0) {
        EXPECT_ERROR(ErrorCode::invalid_argument, plan(source, target)) << row.excluded;
        continue;
      }
      const Plan result = plan(source, target);
      EXPECT_EQ(result.excluded, row.count) << row.excluded;
      EXPECT_EQ(result.target.size(), tensors - row.count) << row.excluded;
    }
  }
}

TEST(Plan, ChoosesTheOperationByFormAndOrder) {
  constexpr const char* kDown = "model.layers.1.mlp.experts.down_proj";
  struct Row {
    Stored from;
    Layout to;
    Codec dtype;
    const char* target;
    Operation operation;
  };
  const std::vector<Row> table = {
      {{.packed = true}, Layout::hf, Codec::bf16, kDown, Operation::decode},
      {{.packed = true},
       Layout::original,
       Codec::f32,
       "block.1.mlp.mlp2_weight",
       Operation::decode},
      {{}, Layout::hf, Codec::bf16, kDown, Operation::copy},
      {{}, Layout::hf, Codec::f32, kDown, Operation::cast},
      {{.swapped = true}, Layout::hf, Codec::bf16, kDown, Operation::transpose},
      {{}, Layout::original, Codec::bf16, "block.1.mlp.mlp2_weight", Operation::transpose},
      {{.swapped = true},
       Layout::original,
       Codec::bf16,
       "block.1.mlp.mlp2_weight",
       Operation::copy},
  };
  for (const Row& row : table) {
    const Plan result = plan(make_catalog(row.from), {.layout = row.to, .dtype = row.dtype});
    const Recipe& recipe = recipe_of(result, row.target);
    EXPECT_EQ(recipe.operation, row.operation) << row.target;
    if (row.operation == Operation::copy || row.operation == Operation::cast) continue;
    EXPECT_EQ(recipe.target_order,
              row.to == Layout::original ? AxisOrder::out_in : AxisOrder::in_out);
    EXPECT_EQ((Shape{recipe.experts, recipe.rows, recipe.columns}), (Shape{3, 64, 96}));
  }
}

TEST(Plan, FusesQueryKeyAndValueInThatOrder) {
  const Catalog source = make_catalog({});
  const Plan result = plan(source, {.layout = Layout::original, .dtype = Codec::f32});
  for (const std::string part : {"weight", "bias"}) {
    std::vector<std::string> sources;
    for (const Recipe& recipe : result.recipes) {
      if (result.target[recipe.target].name == "block.1.attn.qkv." + part) {
        sources.push_back(source[recipe.source].name);
      }
    }
    const std::string prefix = "model.layers.1.self_attn.";
    EXPECT_EQ(sources,
              (std::vector<std::string>{prefix + "q_proj." + part, prefix + "k_proj." + part,
                                        prefix + "v_proj." + part}));
  }
}

TEST(Plan, SplitsAFusedTensorByRows) {
  const Plan result = plan(make_catalog({.layout = Layout::original}), {.layout = Layout::nemo});
  EXPECT_EQ(recipe_of(result, "model.layers.0.self_attn.q_proj.weight").source_offset, 0U);
  EXPECT_EQ(recipe_of(result, "model.layers.0.self_attn.k_proj.weight").source_offset,
            32U * 64 * 2);
  EXPECT_EQ(recipe_of(result, "model.layers.0.self_attn.v_proj.weight").source_offset,
            48U * 64 * 2);
  EXPECT_EQ(recipe_of(result, "model.layers.0.self_attn.v_proj.bias").source_offset, 48U * 2);
}

struct Dtypes {
  Stored from;
  std::optional<Codec> dtype;
  std::optional<DType> dense;
  DType experts;  // U8 where they are packed
  DType others;
  std::optional<DType> config;
};

TEST(Plan, ChoosesDtypes) {
  using enum DType;
  const Stored packed{.packed = true};
  const Stored half{.dtype = F16};
  const std::vector<Dtypes> table = {
      {packed, {}, {}, BF16, BF16, BF16},
      {packed, Codec::f32, {}, F32, F32, F32},
      {packed, Codec::mxfp4, {}, U8, BF16, {}},
      {packed, Codec::mxfp4, F32, U8, F32, F32},
      {packed, {}, F32, BF16, F32, BF16},
      {packed, Codec::f16, BF16, F16, BF16, F16},
      {half, {}, {}, F16, F16, {}},
      {half, Codec::bf16, {}, BF16, BF16, BF16},
      {half, Codec::bf16, F32, BF16, F32, BF16},
      {half, {}, F32, F16, F32, F32},
  };
  for (const Dtypes& row : table) {
    const Plan result =
        plan(make_catalog(row.from), {.dtype = row.dtype, .dense_dtype = row.dense});
    const std::string down =
        std::string("model.layers.0.mlp.experts.down_proj") + (row.experts == U8 ? "_blocks" : "");
    EXPECT_EQ(find_tensor(result.target, down).dtype, row.experts);
    for (const char* other :
         {"lm_head.weight", "model.norm.weight", "model.layers.0.mlp.router.bias",
          "model.layers.0.mlp.experts.down_proj_bias"}) {
      EXPECT_EQ(find_tensor(result.target, other).dtype, row.others) << other;
    }
    EXPECT_EQ(result.dtype, row.config);
  }
}

TEST(Plan, RefusesWhatIsImpossible) {
  const Catalog packed = make_catalog({.packed = true});
  for (const Layout layout : {Layout::nemo, Layout::torchtitan, Layout::unsloth}) {
    EXPECT_ERROR(ErrorCode::invalid_argument,
                 plan(packed, {.layout = layout, .dtype = Codec::mxfp4}));
  }
}

TEST(Plan, QuantizesTheExpertsAlone) {
  for (const Layout from : {Layout::hf, Layout::nemo, Layout::original, Layout::torchtitan,
                            Layout::unsloth, Layout::mlx, Layout::compressed_tensors}) {
    for (const Layout to : {Layout::hf, Layout::original}) {
      const Catalog source = make_catalog({.layout = from});
      const Plan result = plan(source, {.layout = to, .dtype = Codec::mxfp4});
      EXPECT_TRUE(result.packed);
      std::size_t encoded = 0;
      for (const Recipe& recipe : result.recipes) {
        if (recipe.operation != Operation::encode) {
          EXPECT_NE(result.target[recipe.target].dtype, DType::U8);
          continue;
        }
        ++encoded;
        const StoredTensor& blocks = result.target[recipe.target];
        const StoredTensor& scales = result.target[recipe.target_scales];
        EXPECT_EQ(blocks.shape, (Shape{recipe.experts, recipe.rows, recipe.columns / 32, 16}));
        EXPECT_EQ(scales.shape, (Shape{recipe.experts, recipe.rows, recipe.columns / 32}));
        EXPECT_TRUE(blocks.name.ends_with("blocks"));
        EXPECT_EQ(scales.name, blocks.name.substr(0, blocks.name.size() - 6) + "scales");
        EXPECT_EQ(recipe.source_order, layout_row(from, "flex", ParameterKind::down_weight).order);
        EXPECT_FALSE(recipe.reference_scales);
      }
      EXPECT_EQ(encoded, static_cast<std::size_t>(2 * kConfig.num_hidden_layers));
    }
  }
}

TEST(Plan, AsksForTheScalesOfTheReference) {
  const Catalog source = make_catalog({});
  Target target{.dtype = Codec::mxfp4};
  target.reference_scales = [](const SourceParameter& parameter) {
    return static_cast<std::size_t>(*parameter.parameter.layer * 10) +
           (parameter.parameter.kind == ParameterKind::down_weight ? 1 : 0);
  };
  const Plan result = plan(source, target);
  EXPECT_EQ(recipe_of(result, "model.layers.1.mlp.experts.down_proj_blocks").reference_scales, 11U);
}

TEST(Plan, RefusesToQuantizeWhatHasNoBlocks) {
  GptOssConfig config = kConfig;
  config.intermediate_size = 40;
  const Catalog odd = make_catalog({}, config);
  EXPECT_ERROR(ErrorCode::wrong_shape, plan(odd, {.dtype = Codec::mxfp4}, config));
}

TEST(Plan, LeavesOutBlocksAndScalesTogether) {
  const Catalog source = make_catalog({});
  const auto leave_out = [&](std::string_view ending) {
    return plan(source, {.dtype = Codec::mxfp4, .excluded = [=](std::string_view name) {
                           return name.find(ending) != std::string_view::npos;
                         }});
  };
  EXPECT_ERROR(ErrorCode::invalid_argument, leave_out("1.mlp.experts.down_proj_scales"));
  EXPECT_ERROR(ErrorCode::invalid_argument, leave_out("1.mlp.experts.down_proj_blocks"));
  const Plan without = leave_out("1.mlp.experts.down_proj_");
  EXPECT_EQ(std::ranges::count(without.recipes, Operation::encode, &Recipe::operation),
            2 * kConfig.num_hidden_layers - 1);
}

TEST(Plan, RefusesAnIncompleteFusedTensor) {
  for (const char* part : {"1.self_attn.q_proj.bias", "1.self_attn.k_proj.bias"}) {
    EXPECT_ERROR(ErrorCode::missing_partner,
                 plan(without(make_catalog({}), part), {.layout = Layout::original}));
  }
  const Catalog source =
      reshaped(make_catalog({}), "model.layers.1.self_attn.k_proj.bias", DType::F32, {16});
  EXPECT_ERROR(ErrorCode::wrong_dtype, plan(source, {.layout = Layout::original}));
  EXPECT_EQ(
      find_tensor(plan(source, {.layout = Layout::original, .dense_dtype = DType::F32}).target,
                  "block.1.attn.qkv.bias")
          .dtype,
      DType::F32);
}

TEST(Plan, RefusesTwoTensorsOfOneName) {
  // A tensor that passes through may already have the name.
  const Catalog taken =
      with(make_catalog({}),
           stored_tensor("model.layers.0.self_attn.attn_module.softmax_offset", DType::BF16, {4}));
  EXPECT_NO_THROW(plan(taken, {.layout = Layout::nemo}));
  EXPECT_ERROR(ErrorCode::name_collision, plan(taken, {.layout = Layout::nemo, .attn = "te"}));
}

TEST(Plan, LeavesOutWhatIsExcludedByItsNewName) {
  const auto ends_with = [](std::string ending) {
    return [ending](std::string_view name) { return name.ends_with(ending); };
  };
  struct Row {
    Stored from;
    Target target;
    std::size_t excluded;
  };
  const std::vector<Row> table = {
      {{}, {.layout = Layout::nemo, .excluded = ends_with("0.mlp.gate.weight")}, 1},
      {{}, {.layout = Layout::nemo, .excluded = ends_with("mlp.router.weight")}, 0},
      {{.packed = true}, {.excluded = ends_with("mlp.experts.down_proj")}, 2},
      {{.packed = true}, {.dtype = Codec::mxfp4, .excluded = ends_with("_scales")}, 4},
      {{}, {.layout = Layout::original, .excluded = ends_with("1.attn.qkv.weight")}, 1},
      {{}, {.excluded = [](std::string_view) { return true; }}, 2 * 17 + 3},
  };
  for (const Row& row : table) {
    const Plan all =
        plan(make_catalog(row.from), {row.target.layout, "flex", row.target.dtype, {}, {}});
    const Plan result = plan(make_catalog(row.from), row.target);
    EXPECT_EQ(result.excluded, row.excluded);
    EXPECT_EQ(result.target.size(), all.target.size() - row.excluded);
    expect_complete(result);
    for (const StoredTensor& tensor : result.target) EXPECT_FALSE(row.target.excluded(tensor.name));
  }
}

TEST(Plan, PassesUnknownTensorsThrough) {
  const Catalog source =
      with(with(make_catalog({.packed = true}), stored_tensor("extra.ids", DType::I64, {2, 3})),
           stored_tensor("nothing", DType::F32, {0}));
  const Plan result = plan(source, {.layout = Layout::original, .dtype = Codec::f32});
  EXPECT_EQ(result.passed_through.size(), 2U);
  EXPECT_EQ(find_tensor(result.target, "extra.ids").dtype, DType::I64);
  EXPECT_EQ(find_tensor(result.target, "extra.ids").shape, (Shape{2, 3}));
  EXPECT_EQ(recipe_of(result, "extra.ids").operation, Operation::copy);
  EXPECT_EQ(find_tensor(result.target, "nothing").byte_count, 0U);
}

// The placeholder of an expert's number means nothing in a file.
TEST(Plan, PassesThroughNamesThatLookLikeStacks) {
  const std::string stack = "model.layers.0.mlp.experts.down_projs.{E}.bias";
  for (const Layout from : {Layout::hf, Layout::unsloth}) {
    Catalog source = make_catalog({.layout = from});
    std::erase_if(source, [&](const StoredTensor& tensor) {
      return tensor.name == stack || tensor.name == "model.layers.0.mlp.experts.down_proj_bias";
    });
    for (const auto& [name, shape] :
         {std::pair(std::string("{E}"), Shape{}), std::pair(std::string("odd{E}"), Shape{2, 3}),
          std::pair(stack, Shape{3, 64, 96})}) {
      source = with(source, stored_tensor(name, DType::BF16, shape));
    }
    const Plan result = plan(source, {.layout = Layout::unsloth});
    ASSERT_EQ(result.passed_through.size(), 3U);
    EXPECT_EQ(find_tensor(result.target, "{E}").shape, Shape{});
    EXPECT_EQ(find_tensor(result.target, "odd{E}").shape, (Shape{2, 3}));
    EXPECT_EQ(find_tensor(result.target, stack).shape, (Shape{3, 64, 96}));
    expect_complete(result);
  }
}

TEST(Plan, LeavesOutSingleExperts) {
  Target target{.layout = Layout::unsloth};
  target.excluded = [](std::string_view name) {
    return name.find(".gate_up_projs.1.") != std::string_view::npos;
  };
  const Catalog source = make_catalog({});
  const Plan all = plan(source, {.layout = Layout::unsloth});
  const Plan result = plan(source, target);
  EXPECT_EQ(result.excluded, static_cast<std::size_t>(2 * kConfig.num_hidden_layers));
  EXPECT_EQ(result.target.size(), all.target.size() - result.excluded);
  expect_complete(result);
}

// A name without a layer is none of OpenAI's: both halves of the parameter keep the one they have.
TEST(Plan, PassesThroughWhatTheTargetCannotName) {
  Catalog source = make_catalog({.packed = true});
  for (const char* piece : {"_blocks", "_scales"}) {
    StoredTensor tensor =
        find_tensor(source, std::string("model.layers.0.mlp.experts.down_proj") + piece);
    tensor.name = std::string("Xmlp.experts.down_proj") + piece;
    source = with(source, tensor);
  }
  for (const Codec dtype : {Codec::bf16, Codec::mxfp4}) {
    const Plan result = plan(source, {.layout = Layout::original, .dtype = dtype});
    EXPECT_EQ(result.passed_through.size(), 2U);
    expect_complete(result);
    expect_all_read(result, source);
  }
}

}  // namespace
}  // namespace mxferry::internal
