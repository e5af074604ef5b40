#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "tests/adapter/state_dicts.h"

namespace mxferry::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

GPTOSSStateDictAdapter adapter_for(std::string attn) {
  return {{}, {}, {.attn = std::move(attn)}};
}

StateDict dict_of(const std::vector<std::string>& names) {
  StateDict dict;
  for (const std::string& name : names) dict.set(name, Tensor::empty(DType::BF16, {3}));
  return dict;
}

std::vector<std::string> native_names(std::vector<std::string> names, const char* attn = "flex") {
  StateDict dict = dict_of(names);
  GPTOSSStateDictAdapter::apply_key_mapping(dict, adapter_for(attn).hf_to_internal_map());
  return dict.names();
}

TEST(KeyMapping, HasFourPairsAndAFifthForTransformerEngine) {
  const GPTOSSStateDictAdapter flex = adapter_for("flex");
  EXPECT_THAT(flex.hf_to_internal_map(),
              ElementsAre(Pair("mlp.router.weight", "mlp.gate.weight"),
                          Pair("mlp.router.bias", "mlp.gate.bias"),
                          Pair("mlp.experts.gate_up_proj", "mlp.experts.gate_and_up_projs"),
                          Pair("mlp.experts.down_proj", "mlp.experts.down_projs")));
  EXPECT_THAT(adapter_for("sdpa").hf_to_internal_map(), flex.hf_to_internal_map());
  const GPTOSSStateDictAdapter te = adapter_for("te");
  ASSERT_EQ(te.hf_to_internal_map().size(), 5u);
  EXPECT_THAT(te.hf_to_internal_map().back(),
              Pair("self_attn.sinks", "self_attn.attn_module.softmax_offset"));
}

TEST(KeyMapping, TheInverseHasThePairsTurnedRound) {
  const GPTOSSStateDictAdapter te = adapter_for("te");
  ASSERT_EQ(te.internal_to_hf_map().size(), te.hf_to_internal_map().size());
  for (std::size_t i = 0; i < te.internal_to_hf_map().size(); ++i) {
    EXPECT_EQ(te.internal_to_hf_map()[i].first, te.hf_to_internal_map()[i].second);
    EXPECT_EQ(te.internal_to_hf_map()[i].second, te.hf_to_internal_map()[i].first);
  }
}

TEST(KeyMapping, RenamesSuffixesAndKeepsThePrefix) {
  EXPECT_THAT(native_names({"model.layers.7.mlp.router.weight", "mlp.router.bias",
                            "a.b.mlp.experts.gate_up_proj", "mlp.experts.down_proj"}),
              ElementsAre("model.layers.7.mlp.gate.weight", "mlp.gate.bias",
                          "a.b.mlp.experts.gate_and_up_projs", "mlp.experts.down_projs"));
  EXPECT_THAT(native_names({"model.layers.7.self_attn.sinks"}, "te"),
              ElementsAre("model.layers.7.self_attn.attn_module.softmax_offset"));
  EXPECT_THAT(native_names({"model.layers.7.self_attn.sinks"}, "flex"),
              ElementsAre("model.layers.7.self_attn.sinks"));
}

TEST(KeyMapping, SuffixesNeedNoDotBefore) {
  EXPECT_THAT(native_names({"Xmlp.router.weight"}), ElementsAre("Xmlp.gate.weight"));
}

TEST(KeyMapping, LeavesWhatOnlyContainsASuffix) {
  const std::vector<std::string> names = {
      "model.layers.0.mlp.experts.gate_up_proj.weight",
      "model.layers.0.mlp.experts.gate_up_proj_bias",
      "model.layers.0.mlp.experts.down_proj_bias",
      "model.layers.0.mlp.router.weight._extra_state",
      "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
      "model.layers.0.self_attn.sinks_extra_state",
      "",
  };
  EXPECT_EQ(native_names(names, "te"), names);
}

TEST(KeyMapping, RenamedTensorsMoveToTheEndInOrder) {
  EXPECT_THAT(native_names({"1.mlp.router.weight", "x", "0.mlp.router.weight", "y"}),
              ElementsAre("x", "y", "1.mlp.gate.weight", "0.mlp.gate.weight"));
}

TEST(KeyMapping, TheFirstSuffixThatFitsWins) {
  StateDict dict = dict_of({"a.b.c"});
  GPTOSSStateDictAdapter::apply_key_mapping(dict, {{"c", "1"}, {"b.c", "2"}});
  EXPECT_THAT(dict.names(), ElementsAre("a.b.1"));
}

TEST(KeyMapping, NamesCanTradePlaces) {
  StateDict dict = dict_of({"x.a", "x.b"});
  const std::byte* const a = dict.at("x.a").data();
  GPTOSSStateDictAdapter::apply_key_mapping(dict, {{"a", "b"}, {"b", "a"}});
  EXPECT_THAT(dict.names(), ElementsAre("x.b", "x.a"));
  EXPECT_EQ(dict.at("x.b").data(), a);
}

TEST(KeyMapping, CopiesNoTensor) {
  StateDict dict = dict_of({"mlp.router.weight"});
  const std::byte* const data = dict.at("mlp.router.weight").data();
  GPTOSSStateDictAdapter::apply_key_mapping(dict, adapter_for("te").hf_to_internal_map());
  EXPECT_EQ(dict.at("mlp.gate.weight").data(), data);
  EXPECT_EQ(dict.at("mlp.gate.weight").use_count(), 1);
}

TEST(KeyMapping, ACollisionChangesNothing) {
  for (const auto& names : std::vector<std::vector<std::string>>{
           {"0.mlp.router.bias", "1.mlp.router.weight", "1.mlp.gate.weight"},
           {"0.mlp.router.bias", "1.mlp.gate.weight", "1.mlp.router.weight"}}) {
    StateDict dict = dict_of(names);
    const StateDict before = dict;
    try {
      GPTOSSStateDictAdapter::apply_key_mapping(dict, adapter_for("te").hf_to_internal_map());
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::name_collision);
      EXPECT_EQ(error.details().tensor, "1.mlp.gate.weight");
      EXPECT_THAT(error.details().found, HasSubstr("'1.mlp.router.weight'"));
    }
    EXPECT_TRUE(testing::is_untouched(dict, before));
  }
}

RC_GTEST_PROP(KeyMapping, TheInverseGivesTheNamesBack, ()) {
  const auto numbers = *rc::gen::container<std::set<int>>(rc::gen::inRange(0, 40));
  const char* const attn = *rc::gen::element("te", "flex");
  const std::vector<std::string> suffixes = {"mlp.router.weight",      "mlp.router.bias",
                                             testing::kGateUp,         testing::kDown,
                                             "self_attn.sinks",        "mlp.experts.down_proj_bias",
                                             "input_layernorm.weight", "self_attn._extra_state"};
  std::vector<std::string> names;
  for (const int number : numbers) {
    names.push_back(testing::layer(number / 8) + suffixes[static_cast<std::size_t>(number % 8)]);
  }
  StateDict dict = dict_of(names);
  const StateDict before = dict;
  const GPTOSSStateDictAdapter adapter = adapter_for(attn);
  GPTOSSStateDictAdapter::apply_key_mapping(dict, adapter.hf_to_internal_map());
  RC_ASSERT(dict.size() == before.size());
  const StateDict back = adapter.to_hf(dict);
  for (const auto& [name, tensor] : before) RC_ASSERT(back.at(name).data() == tensor.data());
}

}  // namespace
}  // namespace mxferry::internal
