#include "gpt_oss/probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "tests/gpt_oss/catalogs.h"
#include "tests/gpt_oss/findings.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using enum ParameterKind;

Description probe_with_config(const Catalog& catalog) {
  return probe(catalog, {}, kConfig);
}

struct Kind {
  Stored stored;
  const char* text;
};
const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {{.layout = Layout::hf, .packed = true}, "hf packed"},
      {{.layout = Layout::hf}, "hf"},
      {{.layout = Layout::nemo}, "nemo"},
      {{.layout = Layout::nemo, .attn = "te"}, "nemo te"},
      {{.layout = Layout::original, .packed = true}, "original packed"},
      {{.layout = Layout::original}, "original"},
      {{.layout = Layout::torchtitan}, "torchtitan"},
      {{.layout = Layout::unsloth}, "unsloth"},
      {{.layout = Layout::mlx}, "mlx"},
      {{.layout = Layout::mlx, .packed = true}, "mlx"},
      {{.layout = Layout::compressed_tensors}, "compressed-tensors"},
      {{.layout = Layout::compressed_tensors, .packed = true}, "compressed-tensors"},
  };
  return all;
}

TEST(Probe, UnderstandsEveryLayout) {
  for (const Kind& kind : kinds()) {
    const Catalog catalog = make_catalog(kind.stored);
    const Description description = probe_with_config(catalog);
    EXPECT_EQ(findings(description), Findings()) << kind.text;
    EXPECT_EQ(description.layout, kind.stored.layout) << kind.text;
    EXPECT_EQ(description.attn, kind.stored.attn) << kind.text;
    EXPECT_EQ(description.packed, kind.stored.packed) << kind.text;
    EXPECT_FALSE(description.layout_reason.empty());
    EXPECT_TRUE(description.unknown.empty()) << kind.text;
    EXPECT_EQ(description.parameters.size(), 2U * 17U + 3U) << kind.text;
    for (const SourceParameter& p : description.parameters) {
      EXPECT_EQ(p.shape, logical_shape(p.parameter.kind, kConfig)) << kind.text;
      EXPECT_EQ(p.form.packed, kind.stored.packed && is_expert_weight(p.parameter.kind));
    }
  }
}

TEST(Probe, InfersTheSizesWithoutConfig) {
  for (const Kind& kind : kinds()) {
    const Description description = probe(make_catalog(kind.stored), {}, {});
    EXPECT_EQ(findings(description), Findings()) << kind.text;
    const GptOssConfig& config = description.config;
    EXPECT_EQ(config.num_hidden_layers, 2) << kind.text;
    EXPECT_EQ(config.num_local_experts, 3) << kind.text;
    EXPECT_EQ(config.hidden_size, 64) << kind.text;
    EXPECT_EQ(config.intermediate_size, 96) << kind.text;
    EXPECT_EQ(config.num_attention_heads, 4) << kind.text;
    EXPECT_EQ(config.num_key_value_heads, 2) << kind.text;
    EXPECT_EQ(config.head_dim, 8) << kind.text;
    EXPECT_EQ(config.vocab_size, 40) << kind.text;
  }
}

TEST(Probe, InfersWhatTheConfigLeavesOut) {
  const Description description =
      probe(make_catalog({.packed = true}), {}, GptOssConfig{.hidden_size = 64});
  EXPECT_EQ(findings(description), Findings());
  EXPECT_EQ(description.config.intermediate_size, 96);
  EXPECT_EQ(description.config.num_hidden_layers, 2);
}

TEST(Probe, SaysWhatIsMissingWhereNothingTellsASize) {
  Catalog catalog = {
      stored_tensor("model.layers.0.mlp.router.weight", DType::BF16, {3, 64}),
      stored_tensor("model.layers.0.self_attn.q_proj.weight", DType::BF16, {32, 64})};
  const Description description = probe(catalog, {}, {});
  EXPECT_EQ(findings(description)[0],
            fatal(ErrorCode::invalid_config, "model.layers.0.mlp.router.weight"));
  catalog = {stored_tensor("block.0.attn.qkv.weight", DType::BF16, {64, 64})};
  EXPECT_EQ(findings(probe(catalog, {}, {}))[0],
            fatal(ErrorCode::invalid_config, "block.0.attn.qkv.weight"));
}

TEST(Probe, TakesNoSizeFromWildShapes) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  const auto wild = [](const char* name, Shape shape) {
    return StoredTensor{name, DType::BF16, std::move(shape), 0, 0, 0};
  };
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{kHuge, kHuge, kHuge, kHuge}}) {
    Catalog catalog;
    for (const StoredTensor& tensor : make_catalog({.packed = true})) {
      catalog.push_back(wild(tensor.name.c_str(), shape));
    }
    const Description description = probe(catalog, {}, {});
    EXPECT_EQ(description.config.hidden_size, 0);
    EXPECT_TRUE(description.parameters.empty());
    for (const Problem& problem : description.problems)
      EXPECT_EQ(problem.severity, Severity::fatal);
  }
}

TEST(Probe, SplitsAFusedTensor) {
  const Description description = probe_with_config(make_catalog({.layout = Layout::original}));
  EXPECT_EQ(parameter(description, query_weight).form.first_row, 0);
  EXPECT_EQ(parameter(description, key_weight).form.first_row, 32);
  EXPECT_EQ(parameter(description, value_weight).form.first_row, 48);
  EXPECT_EQ(parameter(description, value_bias, 1).form.first_row, 48);
  EXPECT_EQ(parameter(description, key_weight).form.tensor,
            parameter(description, value_weight).form.tensor);
}

struct Wrong {
  const char* what;
  Catalog catalog;
  Findings expected;
};

// One flaw each, in an otherwise sound checkpoint.
TEST(Probe, FindsWhatIsFatal) {
  const Catalog packed = make_catalog({.packed = true});
  const Catalog dense = make_catalog({});
  const Catalog original = make_catalog({.layout = Layout::original, .packed = true});
  const std::string blocks = std::string(kGateUp) + "_blocks";
  const std::string scales = std::string(kGateUp) + "_scales";
  const std::string query = "model.layers.1.self_attn.q_proj.weight";
  const std::vector<Wrong> table = {
      {"no scales",
       without(packed, "layers.0.mlp.experts.gate_up_proj_scales"),
       {fatal(ErrorCode::missing_partner, blocks)}},
      {"no blocks",
       without(packed, "layers.0.mlp.experts.gate_up_proj_blocks"),
       {fatal(ErrorCode::missing_partner, scales)}},
      {"no scales in original",
       without(original, "block.1.mlp.mlp2_weight.scales"),
       {fatal(ErrorCode::missing_partner, "block.1.mlp.mlp2_weight.blocks")}},
      {"dtype of blocks",
       reshaped(packed, blocks, DType::I8, {3, 192, 2, 16}),
       {fatal(ErrorCode::wrong_dtype, blocks)}},
      {"dtype of scales",
       reshaped(packed, scales, DType::F8_E8M0, {3, 192, 2}),
       {fatal(ErrorCode::wrong_dtype, scales)}},
      {"rank of blocks",
       reshaped(packed, blocks, DType::U8, {3, 192, 32}),
       {fatal(ErrorCode::wrong_shape, blocks)}},
      {"bytes of a block",
       reshaped(packed, blocks, DType::U8, {3, 192, 4, 8}),
       {fatal(ErrorCode::wrong_shape, blocks)}},
      {"groups of scales",
       reshaped(packed, scales, DType::U8, {3, 192, 3}),
       {fatal(ErrorCode::wrong_shape, scales)}},
      {"experts of both",
       reshaped(reshaped(packed, blocks, DType::U8, {2, 192, 2, 16}), scales, DType::U8,
                {2, 192, 2}),
       {fatal(ErrorCode::wrong_shape, blocks), fatal(ErrorCode::wrong_shape, scales)}},
      {"dtype of a matrix",
       reshaped(dense, query, DType::F64, {32, 64}),
       {fatal(ErrorCode::wrong_dtype, query)}},
      {"transposed matrix",
       reshaped(dense, query, DType::BF16, {64, 32}),
       {fatal(ErrorCode::wrong_shape, query)}},
      {"shape of a dense expert",
       reshaped(dense, kGateUp, DType::BF16, {3, 64, 96}),
       {fatal(ErrorCode::wrong_shape, kGateUp)}},
      {"dtype of a dense expert",
       reshaped(dense, kGateUp, DType::F8_E5M2, {3, 64, 192}),
       {fatal(ErrorCode::wrong_dtype, kGateUp)}},
      {"shape of a fused tensor",
       reshaped(original, "block.0.attn.qkv.weight", DType::BF16, {65, 64}),
       {fatal(ErrorCode::wrong_shape, "block.0.attn.qkv.weight")}},
      {"dtype of a fused tensor",
       reshaped(original, "block.0.attn.qkv.bias", DType::I16, {64}),
       {fatal(ErrorCode::wrong_dtype, "block.0.attn.qkv.bias")}},
      {"packed and dense",
       with(packed, stored_tensor(kDown, DType::BF16, {3, 96, 64})),
       {fatal(ErrorCode::name_collision, kDown)}},
  };
  for (const Wrong& row : table) {
    const Description description = probe_with_config(row.catalog);
    EXPECT_EQ(findings(description), row.expected) << row.what;
    EXPECT_TRUE(description.layout) << row.what;
  }
}

TEST(Probe, RefusesAPackedInputThatIsNoMultipleOf32) {
  GptOssConfig config = kConfig;
  config.hidden_size = 80;
  const Description description = probe(make_catalog({.packed = true}, config), {}, config);
  EXPECT_EQ(findings(description)[0],
            fatal(ErrorCode::wrong_shape, std::string(kGateUp) + "_blocks"));
}

TEST(Probe, RefusesNamesOfNoLayout) {
  for (const Catalog& catalog :
       {Catalog(), Catalog{stored_tensor("transformer.wte.weight", DType::BF16, {40, 64})}}) {
    const Description description = probe_with_config(catalog);
    EXPECT_EQ(findings(description), Findings({fatal(ErrorCode::unknown_layout, "")}));
    EXPECT_FALSE(description.layout);
  }
}

TEST(Probe, KnowsACheckpointWithoutExpertsByItsRouter) {
  Catalog catalog = make_catalog({});
  std::erase_if(catalog,
                [](const StoredTensor& t) { return t.name.find("experts") != std::string::npos; });
  EXPECT_EQ(probe_with_config(catalog).layout, Layout::hf);
  std::erase_if(catalog,
                [](const StoredTensor& t) { return t.name.find("router") != std::string::npos; });
  EXPECT_FALSE(probe_with_config(catalog).layout);
}

TEST(Probe, RefusesAMixtureOfLayouts) {
  const std::array<Layout, 7> layouts = {
      Layout::hf,      Layout::nemo, Layout::original,          Layout::torchtitan,
      Layout::unsloth, Layout::mlx,  Layout::compressed_tensors};
  for (const Layout a : layouts) {
    for (const Layout b : layouts) {
      if (a == b) continue;
      Catalog catalog = make_catalog({.layout = a});
      for (const StoredTensor& tensor : make_catalog({.layout = b})) {
        if (std::ranges::find(catalog, tensor.name, &StoredTensor::name) == catalog.end()) {
          catalog.push_back(tensor);
        }
      }
      std::ranges::sort(catalog, {}, &StoredTensor::name);
      const Description description = probe_with_config(catalog);
      EXPECT_EQ(findings(description), Findings({fatal(ErrorCode::unknown_layout, "")}))
          << name(a) << " and " << name(b);
      EXPECT_FALSE(description.layout);
    }
  }
}

TEST(Probe, TakesDenseWeightsUnderTheNamesOfBlocks) {
  for (const bool swapped : {false, true}) {
    Catalog catalog = make_catalog({.swapped = swapped});
    for (StoredTensor& tensor : catalog) {
      if (tensor.name.ends_with("_proj")) tensor.name += "_blocks";
    }
    std::ranges::sort(catalog, {}, &StoredTensor::name);
    const Description description = probe_with_config(catalog);
    EXPECT_FALSE(description.packed);
    for (const SourceParameter& p : description.parameters) {
      EXPECT_FALSE(p.form.packed);
      if (!is_expert_weight(p.parameter.kind)) continue;
      EXPECT_EQ(p.form.order, swapped ? AxisOrder::out_in : AxisOrder::in_out);
    }
    EXPECT_EQ(findings(description).size(), swapped ? 4U : 0U);  // warnings: not hf's order
  }
}

TEST(Probe, RefusesSinksUnderBothNames) {
  const Catalog catalog = with(make_catalog({.layout = Layout::nemo, .attn = "te"}),
                               stored_tensor("model.layers.0.self_attn.sinks", DType::BF16, {4}));
  EXPECT_EQ(findings(probe_with_config(catalog)),
            Findings({fatal(ErrorCode::name_collision, "model.layers.0.self_attn.sinks")}));
}

TEST(Probe, TakesThePlainNameOfSinksBesideTransformerEngines) {
  Catalog catalog = make_catalog({.layout = Layout::nemo, .attn = "te"});
  find_tensor(catalog, "model.layers.1.self_attn.attn_module.softmax_offset").name =
      "model.layers.1.self_attn.sinks";
  const Description description = probe_with_config(catalog);
  EXPECT_EQ(findings(description), Findings());
  EXPECT_EQ(description.attn, "te");
  EXPECT_TRUE(description.unknown.empty());
}

// Index entries without a tensor.
TEST(Probe, JudgesWhatTheIndexPromises) {
  const std::string dead = "model.layers.0.self_attn.q_proj.weight";
  const Catalog packed = make_catalog({.packed = true});
  struct Row {
    Catalog catalog;
    MissingName missing;
    Finding expected;
  };
  const std::vector<Row> table = {
      {without(packed, "0.self_attn.sinks"),
       {"model.layers.0.self_attn.sinks", "gone", false},
       fatal(ErrorCode::missing_shard, "model.layers.0.self_attn.sinks")},
      {without(packed, "0.self_attn.sinks"),
       {"model.layers.0.self_attn.sinks", "there", true},
       fatal(ErrorCode::missing_tensor, "model.layers.0.self_attn.sinks")},
      {packed, {"of.no.layout", "there", true}, fatal(ErrorCode::missing_tensor, "of.no.layout")},
      // The same parameter in another form.
      {packed, {kDown, "there", true}, warning(ErrorCode::missing_tensor, kDown)},
      {packed, {kDown, "gone", false}, warning(ErrorCode::missing_tensor, kDown)},
      {make_catalog({}),
       {std::string(kDown) + "_blocks", "there", true},
       warning(ErrorCode::missing_tensor, std::string(kDown) + "_blocks")},
      {make_catalog({.layout = Layout::nemo}),
       {std::string(kDown) + "_scales", "there", true},
       warning(ErrorCode::missing_tensor, std::string(kDown) + "_scales")},
      {make_catalog({.layout = Layout::original}),
       {dead, "there", true},
       warning(ErrorCode::missing_tensor, dead)},
      // Another layer's parameter is no other form.
      {packed,
       {"model.layers.2.mlp.experts.down_proj", "there", true},
       fatal(ErrorCode::missing_tensor, "model.layers.2.mlp.experts.down_proj")},
  };
  for (const Row& row : table) {
    const auto found = findings(probe(row.catalog, {row.missing}, kConfig));
    EXPECT_EQ(std::ranges::count(found, row.expected), 1) << row.missing.tensor;
    for (const Finding& finding : found) {
      EXPECT_TRUE(finding.tensor != row.missing.tensor || finding == row.expected);
    }
  }
}

TEST(Probe, MissesALayerInTheMiddle) {
  GptOssConfig config = kConfig;
  config.num_hidden_layers = 3;
  for (const auto& [layout, prefix] :
       {std::pair(Layout::hf, "model.layers.1."), std::pair(Layout::original, "block.1.")}) {
    Catalog catalog = make_catalog({.layout = layout, .packed = true}, config);
    std::erase_if(catalog, [&](const StoredTensor& t) { return t.name.starts_with(prefix); });
    for (const ConfigFacts& given : {ConfigFacts(config), ConfigFacts()}) {
      const Description description = probe(catalog, {}, given);
      EXPECT_EQ(findings(description), Findings({fatal(ErrorCode::missing_layer, "")}));
      const std::string& text = description.problems[0].text;
      EXPECT_NE(text.find("layer 1 of 3"), std::string::npos) << text;
      EXPECT_NE(text.find(std::string("(") + prefix), std::string::npos) << text;
    }
  }
}

TEST(Probe, CountsLayersByTheConfig) {
  const Catalog catalog = make_catalog({});
  GptOssConfig config = kConfig;
  config.num_hidden_layers = 3;
  EXPECT_EQ(findings(probe(catalog, {}, config)), Findings({fatal(ErrorCode::missing_layer, "")}));
  config.num_hidden_layers = 1;
  EXPECT_EQ(findings(probe(catalog, {}, config)), Findings({fatal(ErrorCode::invalid_config, "")}));
}

TEST(Probe, SaysLittleAboutAWildLayerNumber) {
  Catalog catalog = with(make_catalog({}),
                         stored_tensor("model.layers.999999.self_attn.sinks", DType::BF16, {4}));
  const auto found = findings(probe(catalog, {}, {}));
  EXPECT_EQ(std::ranges::count(found, ErrorCode::missing_layer, &Finding::code), 8);
  EXPECT_LT(found.size(), 20U);
}

// Every kind, missing from one layer and from all: only biases may be, which count as zero.
TEST(Probe, JudgesParametersThatAreMissing) {
  for (const KindRow& row : kKindRows) {
    for (const bool everywhere : {false, true}) {
      if (!row.per_layer && !everywhere) continue;
      Catalog catalog = make_catalog({});
      std::erase_if(catalog, [&](const StoredTensor& tensor) {
        const auto match = match_name(Layout::hf, "flex", tensor.name);
        return match && match->rows[0].kind == row.kind && (everywhere || match->layer == 1);
      });
      const Description description = probe_with_config(catalog);
      const bool is_bias = std::string_view(row.words).ends_with("bias");
      EXPECT_EQ(findings(description), Findings({is_bias ? warning(ErrorCode::missing_tensor, "")
                                                         : fatal(ErrorCode::missing_tensor, "")}))
          << row.words << everywhere;
      EXPECT_NE(description.problems[0].text.find(row.words), std::string::npos);
    }
  }
}

TEST(Probe, RefusesExpertsOfWhichNoTableKnowsOneHalf) {
  const char* kStrange = "model.layers.0.mlp.experts.0.gate_up_proj.weight";
  Catalog catalog = make_catalog({.packed = true});
  std::erase_if(catalog, [](const StoredTensor& tensor) {
    return tensor.name.find("gate_up_proj_") != std::string::npos &&
           !tensor.name.ends_with("_bias");
  });
  catalog = with(catalog, stored_tensor(kStrange, DType::U8, {192, 32}));
  EXPECT_EQ(findings(probe_with_config(catalog)),
            Findings({fatal(ErrorCode::missing_tensor, kStrange)}));
}

TEST(Probe, AnExpertMoreThanThereAreIsNotStale) {
  const Catalog catalog = make_catalog({.layout = Layout::compressed_tensors, .packed = true});
  const std::string name = "model.layers.0.mlp.experts.3.down_proj.weight_packed";
  EXPECT_EQ(findings(probe(catalog, {{name, "gone", false}}, kConfig)),
            Findings({fatal(ErrorCode::missing_shard, name.c_str())}));
  const std::string dense = "model.layers.0.mlp.experts.0.down_proj.weight";
  EXPECT_EQ(findings(probe(catalog, {{dense, "gone", false}}, kConfig)),
            Findings({warning(ErrorCode::missing_tensor, dense.c_str())}));
}

TEST(Probe, TakesTheEmbeddingForATiedHead) {
  const Catalog catalog = without(make_catalog({}), "lm_head.weight");
  EXPECT_EQ(findings(probe_with_config(catalog)), Findings({fatal(ErrorCode::missing_tensor, "")}));
  EXPECT_EQ(findings(probe(catalog, {}, {})), Findings({warning(ErrorCode::missing_tensor, "")}));
  ConfigFacts config = kConfig;
  config.ties_head = true;
  const Description description = probe(catalog, {}, config);
  EXPECT_EQ(findings(description), Findings());
  const SourceParameter& tied = description.parameters.back();
  EXPECT_EQ(tied.parameter.kind, ParameterKind::head);
  EXPECT_TRUE(tied.form.tied);
  EXPECT_EQ(catalog[tied.form.tensor].name, "model.embed_tokens.weight");
}

TEST(Probe, ListsUnknownNames) {
  const Catalog catalog =
      with(make_catalog({.packed = true}), stored_tensor("model.layers.0.extra", DType::I64, {2}));
  const Description description = probe_with_config(catalog);
  EXPECT_EQ(findings(description), Findings());
  ASSERT_EQ(description.unknown.size(), 1U);
  EXPECT_EQ(catalog[description.unknown[0]].name, "model.layers.0.extra");
}

TEST(Probe, DoesNotTakeAnotherModelForThisOne) {
  const std::string other = "vision.model.layers.1.self_attn.sinks";
  const Catalog catalog =
      with(make_catalog({.packed = true}), stored_tensor(other, DType::BF16, {7}));
  const Description description = probe_with_config(catalog);
  EXPECT_EQ(findings(description), Findings());
  ASSERT_EQ(description.unknown.size(), 1U);
  EXPECT_EQ(catalog[description.unknown[0]].name, other);
}

// As many tensors as a header may have would have as many problems, megabytes of them.
TEST(Probe, ListsAHundredProblemsOfAKind) {
  Catalog catalog;
  for (int layer = 0; layer < 5000; ++layer) {
    const std::string name =
        "model.layers." + std::to_string(layer) + ".mlp.experts.down_proj_scales";
    catalog.push_back(stored_tensor(name, DType::U8, {1}));
  }
  const Description description = probe(catalog, {}, {});
  const auto of_kind =
      std::ranges::count(description.problems, ErrorCode::invalid_config, &Problem::code);
  EXPECT_EQ(of_kind, 101);
  const auto last = std::ranges::find(description.problems, "", &Problem::tensor);
  ASSERT_NE(last, description.problems.end());
}

TEST(Probe, TellsHowManyProblemsAreNotListed) {
  std::vector<MissingName> missing(250, {"model.layers.0.self_attn.sinks", "gone", false});
  const Description description = probe({}, missing, {});
  ASSERT_EQ(description.problems.size(), 101U);
  EXPECT_EQ(description.problems[0].code, ErrorCode::missing_shard);
  EXPECT_EQ(description.problems[100].text, "and 150 more problems of this kind (missing_shard)");
}

// Found by fuzzing: the rows of query, key and value were added without a check.
TEST(Probe, RefusesMoreFusedRowsThanCanBeCounted) {
  constexpr std::int64_t kMost = (std::int64_t{1} << 31) - 1;
  GptOssConfig config = kConfig;
  config.num_attention_heads = config.num_key_value_heads = config.head_dim = kMost;
  const Description description = probe(make_catalog({.layout = Layout::original}), {}, config);
  EXPECT_NE(std::ranges::find(description.problems, ErrorCode::invalid_config, &Problem::code),
            description.problems.end());
}

}  // namespace
}  // namespace mxferry::internal
