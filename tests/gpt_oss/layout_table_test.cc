#include "gpt_oss/layout_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

namespace mxferry::internal {
namespace {

using enum ParameterKind;

struct Table {
  Layout layout;
  const char* attn;
  const char* text;
};
constexpr std::array<Table, 8> kTables = {{{Layout::hf, "flex", "hf"},
                                           {Layout::nemo, "flex", "nemo"},
                                           {Layout::nemo, "te", "nemo te"},
                                           {Layout::original, "flex", "original"},
                                           {Layout::torchtitan, "flex", "torchtitan"},
                                           {Layout::unsloth, "flex", "unsloth"},
                                           {Layout::mlx, "flex", "mlx"},
                                           {Layout::compressed_tensors, "flex", "ct"}}};

// The names as the projects write them, for layer 7, by kTables; where experts are concerned the
// dense ones.
struct Names {
  ParameterKind kind;
  std::array<const char*, 8> names;
};
const std::vector<Names>& names() {
  static const std::vector<Names> table = [] {
    const auto same = [](ParameterKind kind, const char* name, const char* original,
                         const char* titan) {
      return Names{kind, {name, name, name, original, titan, name, name, name}};
    };
    return std::vector<Names>{
        same(embedding, "model.embed_tokens.weight", "embedding.weight", "tok_embeddings.weight"),
        same(attention_norm, "model.layers.7.input_layernorm.weight", "block.7.attn.norm.scale",
             "layers.7.attention_norm.weight"),
        same(query_weight, "model.layers.7.self_attn.q_proj.weight", "block.7.attn.qkv.weight",
             "layers.7.attention.qkv_linear.wq.weight"),
        same(query_bias, "model.layers.7.self_attn.q_proj.bias", "block.7.attn.qkv.bias",
             "layers.7.attention.qkv_linear.wq.bias"),
        same(key_weight, "model.layers.7.self_attn.k_proj.weight", "block.7.attn.qkv.weight",
             "layers.7.attention.qkv_linear.wk.weight"),
        same(key_bias, "model.layers.7.self_attn.k_proj.bias", "block.7.attn.qkv.bias",
             "layers.7.attention.qkv_linear.wk.bias"),
        same(value_weight, "model.layers.7.self_attn.v_proj.weight", "block.7.attn.qkv.weight",
             "layers.7.attention.qkv_linear.wv.weight"),
        same(value_bias, "model.layers.7.self_attn.v_proj.bias", "block.7.attn.qkv.bias",
             "layers.7.attention.qkv_linear.wv.bias"),
        same(output_weight, "model.layers.7.self_attn.o_proj.weight", "block.7.attn.out.weight",
             "layers.7.attention.wo.weight"),
        same(output_bias, "model.layers.7.self_attn.o_proj.bias", "block.7.attn.out.bias",
             "layers.7.attention.wo.bias"),
        {sinks,
         {"model.layers.7.self_attn.sinks", "model.layers.7.self_attn.sinks",
          "model.layers.7.self_attn.attn_module.softmax_offset", "block.7.attn.sinks",
          "layers.7.attention.sinks", "model.layers.7.self_attn.sinks",
          "model.layers.7.self_attn.sinks", "model.layers.7.self_attn.sinks"}},
        same(mlp_norm, "model.layers.7.post_attention_layernorm.weight", "block.7.mlp.norm.scale",
             "layers.7.ffn_norm.weight"),
        {router_weight,
         {"model.layers.7.mlp.router.weight", "model.layers.7.mlp.gate.weight",
          "model.layers.7.mlp.gate.weight", "block.7.mlp.gate.weight",
          "layers.7.moe.router.gate.weight", "model.layers.7.mlp.router.linear.weight",
          "model.layers.7.mlp.router.weight", "model.layers.7.mlp.router.weight"}},
        {router_bias,
         {"model.layers.7.mlp.router.bias", "model.layers.7.mlp.gate.bias",
          "model.layers.7.mlp.gate.bias", "block.7.mlp.gate.bias", "layers.7.moe.router.gate.bias",
          "model.layers.7.mlp.router.linear.bias", "model.layers.7.mlp.router.bias",
          "model.layers.7.mlp.router.bias"}},
        {gate_up_weight,
         {"model.layers.7.mlp.experts.gate_up_proj", "model.layers.7.mlp.experts.gate_and_up_projs",
          "model.layers.7.mlp.experts.gate_and_up_projs", "block.7.mlp.mlp1_weight",
          "layers.7.moe.routed_experts.inner_experts.mlp1_weight_EGD",
          "model.layers.7.mlp.experts.gate_up_projs.{E}.weight",
          "model.layers.7.mlp.experts.{gate|up}_proj.weight",
          "model.layers.7.mlp.experts.{E}.{gate|up}_proj.weight"}},
        {gate_up_bias,
         {"model.layers.7.mlp.experts.gate_up_proj_bias",
          "model.layers.7.mlp.experts.gate_up_proj_bias",
          "model.layers.7.mlp.experts.gate_up_proj_bias", "block.7.mlp.mlp1_bias",
          "layers.7.moe.routed_experts.inner_experts.mlp1_bias_EG",
          "model.layers.7.mlp.experts.gate_up_projs.{E}.bias",
          "model.layers.7.mlp.experts.{gate|up}_proj.bias",
          "model.layers.7.mlp.experts.{E}.{gate|up}_proj.bias"}},
        {down_weight,
         {"model.layers.7.mlp.experts.down_proj", "model.layers.7.mlp.experts.down_projs",
          "model.layers.7.mlp.experts.down_projs", "block.7.mlp.mlp2_weight",
          "layers.7.moe.routed_experts.inner_experts.mlp2_weight_EDF",
          "model.layers.7.mlp.experts.down_projs.{E}.weight",
          "model.layers.7.mlp.experts.down_proj.weight",
          "model.layers.7.mlp.experts.{E}.down_proj.weight"}},
        {down_bias,
         {"model.layers.7.mlp.experts.down_proj_bias", "model.layers.7.mlp.experts.down_proj_bias",
          "model.layers.7.mlp.experts.down_proj_bias", "block.7.mlp.mlp2_bias",
          "layers.7.moe.routed_experts.inner_experts.mlp2_bias_ED",
          "model.layers.7.mlp.experts.down_projs.{E}.bias",
          "model.layers.7.mlp.experts.down_proj.bias",
          "model.layers.7.mlp.experts.{E}.down_proj.bias"}},
        same(final_norm, "model.norm.weight", "norm.scale", "norm.weight"),
        same(head, "lm_head.weight", "unembedding.weight", "lm_head.weight"),
    };
  }();
  return table;
}

Parameter published(ParameterKind kind) {
  const auto layer = is_per_layer(kind) ? std::optional<std::int64_t>(7) : std::nullopt;
  return {kind, layer, published_prefix(kind, layer)};
}

bool holds(const NameMatch& match, ParameterKind kind) {
  return std::ranges::count(match.rows, kind, &LayoutRow::kind) == 1;
}

TEST(LayoutTable, HasEveryKindOnce) {
  ASSERT_EQ(names().size(), static_cast<std::size_t>(kParameterKinds));
  for (const Table& table : kTables) {
    const auto rows = layout_rows(table.layout, table.attn);
    ASSERT_EQ(rows.size(), static_cast<std::size_t>(kParameterKinds));
    for (const Names& row : names())
      EXPECT_EQ(std::ranges::count(rows, row.kind, &LayoutRow::kind), 1);
  }
}

TEST(LayoutTable, NamesEveryParameterAndFindsItAgain) {
  for (std::size_t i = 0; i < kTables.size(); ++i) {
    for (const Names& row : names()) {
      const auto name =
          tensor_name(kTables[i].layout, kTables[i].attn, published(row.kind), Piece::dense);
      EXPECT_EQ(name, row.names[i]) << kTables[i].text;
      const auto match = match_name(kTables[i].layout, kTables[i].attn, row.names[i]);
      ASSERT_TRUE(match) << kTables[i].text << ' ' << row.names[i];
      EXPECT_TRUE(holds(*match, row.kind)) << row.names[i];
      EXPECT_EQ(match->piece, Piece::dense);
      EXPECT_EQ(match->parameter(layout_row(kTables[i].layout, kTables[i].attn, row.kind)),
                published(row.kind))
          << row.names[i];
    }
  }
}

TEST(LayoutTable, NamesBlocksAndScalesAndFindsThemAgain) {
  struct Packed {
    Layout layout;
    ParameterKind kind;
    const char* blocks;
    const char* scales;
  };
  const std::vector<Packed> table = {
      {Layout::hf, gate_up_weight, "model.layers.7.mlp.experts.gate_up_proj_blocks",
       "model.layers.7.mlp.experts.gate_up_proj_scales"},
      {Layout::hf, down_weight, "model.layers.7.mlp.experts.down_proj_blocks",
       "model.layers.7.mlp.experts.down_proj_scales"},
      {Layout::original, gate_up_weight, "block.7.mlp.mlp1_weight.blocks",
       "block.7.mlp.mlp1_weight.scales"},
      {Layout::original, down_weight, "block.7.mlp.mlp2_weight.blocks",
       "block.7.mlp.mlp2_weight.scales"},
      {Layout::mlx, gate_up_weight, "model.layers.7.mlp.experts.{gate|up}_proj.weight (U32)",
       "model.layers.7.mlp.experts.{gate|up}_proj.scales"},
      {Layout::mlx, down_weight, "model.layers.7.mlp.experts.down_proj.weight (U32)",
       "model.layers.7.mlp.experts.down_proj.scales"},
      {Layout::compressed_tensors, gate_up_weight,
       "model.layers.7.mlp.experts.{E}.{gate|up}_proj.weight_packed (U8)",
       "model.layers.7.mlp.experts.{E}.{gate|up}_proj.weight_scale"},
      {Layout::compressed_tensors, down_weight,
       "model.layers.7.mlp.experts.{E}.down_proj.weight_packed (U8)",
       "model.layers.7.mlp.experts.{E}.down_proj.weight_scale"}};
  for (const Packed& row : table) {
    for (const auto& [piece, name] :
         {std::pair(Piece::blocks, row.blocks), std::pair(Piece::scales, row.scales)}) {
      EXPECT_EQ(tensor_name(row.layout, "flex", published(row.kind), piece), name);
      const auto match = match_name(row.layout, "flex", name);
      ASSERT_TRUE(match) << name;
      EXPECT_EQ(match->piece, piece) << name;
      EXPECT_EQ(match->parameter(match->rows[0]), published(row.kind)) << name;
      EXPECT_FALSE(match_name(Layout::nemo, "flex", name)) << name;
    }
  }
}

TEST(LayoutTable, FusesQueryKeyAndValueInThatOrder) {
  for (const char* part : {"weight", "bias"}) {
    const auto match =
        match_name(Layout::original, "flex", std::string("block.0.attn.qkv.") + part);
    ASSERT_TRUE(match);
    ASSERT_EQ(match->rows.size(), 3U);
    const bool weight = std::string_view(part) == "weight";
    EXPECT_EQ(match->rows[0].kind, weight ? query_weight : query_bias);
    EXPECT_EQ(match->rows[1].kind, weight ? key_weight : key_bias);
    EXPECT_EQ(match->rows[2].kind, weight ? value_weight : value_bias);
  }
}

TEST(LayoutTable, TransposesDenseExpertsInHfAndNemoAlone) {
  for (const Table& table : kTables) {
    for (const LayoutRow& row : layout_rows(table.layout, table.attn)) {
      const bool transposes = table.layout == Layout::hf || table.layout == Layout::nemo;
      const bool transposed = is_expert_weight(row.kind) && transposes;
      EXPECT_EQ(row.order, transposed ? AxisOrder::in_out : AxisOrder::out_in)
          << table.text << ' ' << row.suffix;
    }
  }
}

TEST(LayoutTable, RenamesWhatTheAdapterRenames) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  const Pairs four = {{"mlp.router.weight", "mlp.gate.weight"},
                      {"mlp.router.bias", "mlp.gate.bias"},
                      {"mlp.experts.gate_up_proj", "mlp.experts.gate_and_up_projs"},
                      {"mlp.experts.down_proj", "mlp.experts.down_projs"}};
  EXPECT_EQ(renamed_suffixes("flex"), four);
  Pairs five = four;
  five.emplace_back("self_attn.sinks", "self_attn.attn_module.softmax_offset");
  EXPECT_EQ(renamed_suffixes("te"), five);
}

struct Unusual {
  Layout layout;
  const char* attn;
  const char* name;
  bool known;
  std::optional<std::int64_t> layer = std::nullopt;
  const char* prefix = "";
};

TEST(LayoutTable, JudgesPrefixes) {
  const std::vector<Unusual> table = {
      // What the adapter renames fits wherever it ends a name.
      {Layout::hf, "flex", "Xmlp.router.weight", true, {}, "X"},
      {Layout::hf, "flex", "mlp.experts.down_proj", true, {}, ""},
      {Layout::hf, "flex", "Xmlp.experts.gate_up_proj_blocks", true, {}, "X"},
      {Layout::nemo, "flex", "a.layers.007.mlp.gate.bias", true, {}, "a.layers.007."},
      {Layout::hf, "te", "Xself_attn.sinks", true, {}, "X"},
      {Layout::nemo, "te", "Xself_attn.attn_module.softmax_offset", true, {}, "X"},
      // Everything else needs its layer.
      {Layout::hf, "flex", "Xself_attn.sinks", false},
      {Layout::hf, "flex", "self_attn.sinks", false},
      {Layout::hf, "flex", "layers.3.self_attn.sinks", true, 3, "layers.3."},
      {Layout::hf, "flex", "language_model.model.layers.3.self_attn.q_proj.weight", true, 3,
       "language_model.model.layers.3."},
      {Layout::hf, "flex", "language_model.model.layers.3.mlp.router.bias", true, 3,
       "language_model.model.layers.3."},
      {Layout::hf, "flex", "sublayers.3.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.3.4.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers..self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.-1.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.+1.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.1x.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.0.self_attn.sinks", true, 0, "model.layers.0."},
      {Layout::hf, "flex", "model.layers.00.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.01.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.999999.self_attn.sinks", true, 999999,
       "model.layers.999999."},
      {Layout::hf, "flex", "model.layers.1000000.self_attn.sinks", false},
      {Layout::hf, "flex", "model.layers.99999999999999999999.self_attn.sinks", false},
      // The top level.
      {Layout::hf, "flex", "norm.weight", true, {}, ""},
      {Layout::hf, "flex", "language_model.model.norm.weight", true, {}, "language_model.model."},
      {Layout::hf, "flex", "embed_tokens.weight", true, {}, ""},
      {Layout::hf, "flex", "language_model.lm_head.weight", true, {}, "language_model."},
      {Layout::hf, "flex", "xlm_head.weight", false},
      {Layout::hf, "flex", "model.layers.0.self_attn.q_norm.weight", false},
      {Layout::hf, "flex", "model.layers.0.norm.weight", false},
      {Layout::hf, "flex", "model.layers.0.self_attn.norm.weight", false},
      // LoRA, Transformer Engine, unsloth.
      {Layout::hf, "flex", "model.layers.0.self_attn.q_proj.lora_A.weight", false},
      {Layout::nemo, "te", "model.layers.0.self_attn.attn_module._extra_state", false},
      {Layout::nemo, "flex", "model.layers.0.mlp.experts.down_projs.3.weight", false},
      {Layout::hf, "flex", "", false},
      // OpenAI's names stand alone.
      {Layout::original, "flex", "model.block.0.attn.sinks", false},
      {Layout::original, "flex", "block.00.attn.sinks", false},
      {Layout::original, "flex", "block.0.norm.scale", false},
      {Layout::original, "flex", "model.norm.scale", false},
      {Layout::original, "flex", "attn.sinks", false},
      {Layout::original, "flex", "block.35.attn.sinks", true, 35, "model.layers.35."},
      {Layout::original, "flex", "block.1.mlp.mlp1_weight.blocks", true, 1, "model.layers.1."},
      {Layout::torchtitan, "flex", "model.layers.0.attention.sinks", false},
      {Layout::torchtitan, "flex", "layers.0.norm.weight", false},
      {Layout::torchtitan, "flex", "layers.35.attention.sinks", true, 35, "model.layers.35."},
  };
  for (const Unusual& row : table) {
    const auto match = match_name(row.layout, row.attn, row.name);
    ASSERT_EQ(match.has_value(), row.known) << row.name;
    if (!match) continue;
    EXPECT_EQ(match->layer, row.layer) << row.name;
    EXPECT_EQ(match->prefix, row.prefix) << row.name;
    if (!layout_table(row.layout).keeps_prefix) continue;
    EXPECT_EQ(tensor_name(row.layout, row.attn, match->parameter(match->rows[0]), match->piece),
              row.name);
  }
}

TEST(LayoutTable, OriginalCannotNameAParameterWithoutLayer) {
  EXPECT_FALSE(tensor_name(Layout::original, "flex", {router_weight, {}, "X"}, Piece::dense));
  EXPECT_EQ(tensor_name(Layout::original, "flex", {head, {}, "any."}, Piece::dense),
            "unembedding.weight");
}

}  // namespace
}  // namespace mxferry::internal
