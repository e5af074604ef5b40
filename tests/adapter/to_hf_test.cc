#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "tests/adapter/state_dicts.h"

namespace mxferry::internal {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const GPTOSSStateDictAdapter& adapter() {
  static const GPTOSSStateDictAdapter kAdapter({}, {}, {.attn = "te"});
  return kAdapter;
}

StateDict native() {
  StateDict dict;
  dict.set("0.mlp.experts.down_projs",
           Tensor::empty(DType::BF16, {kExperts, kIntermediate, kHidden}));
  dict.set("0.self_attn.attn_module._extra_state", Tensor::empty(DType::U8, {5}));
  dict.set("0.mlp.experts.gate_and_up_projs",
           Tensor::empty(DType::F32, {kExperts, kHidden, 2 * kIntermediate}));
  dict.set("0.mlp.experts.down_proj_bias", Tensor::empty(DType::BF16, {kExperts, kHidden}));
  dict.set("0.self_attn.attn_module.softmax_offset", Tensor::empty(DType::BF16, {8}));
  dict.set("0.mlp.gate.weight", Tensor::empty(DType::BF16, {kExperts, kHidden}));
  return dict;
}

bool is_ones(const Tensor& tensor) {
  const auto* const begin = tensor.as<std::uint8_t>();
  return tensor.dtype() == DType::U8 &&
         std::all_of(begin, begin + tensor.element_count(), [](int byte) { return byte == 1; });
}

TEST(ToHf, RenamesInOrder) {
  EXPECT_THAT(adapter().to_hf(native()).names(),
              ElementsAre("0.mlp.experts.down_proj", "0.self_attn.attn_module._extra_state",
                          "0.mlp.experts.gate_up_proj", "0.mlp.experts.down_proj_bias",
                          "0.self_attn.sinks", "0.mlp.router.weight"));
}

TEST(ToHf, SharesTheStorageAndLeavesTheSource) {
  const StateDict source = native();
  const StateDict hf = adapter().to_hf(source);
  EXPECT_EQ(hf.at("0.mlp.router.weight").data(), source.at("0.mlp.gate.weight").data());
  EXPECT_EQ(hf.at("0.mlp.experts.down_proj").data(), source.at("0.mlp.experts.down_projs").data());
  EXPECT_EQ(source.at("0.mlp.experts.down_projs").use_count(), 2);
  EXPECT_EQ(source.names(), native().names());
}

TEST(ToHf, FromHfGivesTheNativeDictBack) {
  const StateDict source = native();
  StateDict dict = adapter().to_hf(source);
  adapter().from_hf(dict);
  ASSERT_EQ(dict.size(), source.size());
  for (const auto& [name, tensor] : source) EXPECT_EQ(dict.at(name).data(), tensor.data()) << name;
}

TEST(ToHf, ExcludesByTheNewNameFromItsStart) {
  const auto names_without = [](const char* regex) {
    return adapter().to_hf(native(), regex, Quantization::none).names();
  };
  EXPECT_THAT(names_without(".*_extra_state.*"), ::testing::SizeIs(5));
  EXPECT_THAT(names_without("_extra_state"), ::testing::SizeIs(6));
  EXPECT_THAT(names_without("0\\.mlp\\.gate"), ::testing::SizeIs(6));
  EXPECT_THAT(names_without("0\\.mlp\\.router"), ::testing::SizeIs(5));
  EXPECT_THAT(names_without("0.mlp"),
              ElementsAre("0.self_attn.attn_module._extra_state", "0.self_attn.sinks"));
  EXPECT_THAT(names_without(".*"), IsEmpty());
}

TEST(ToHf, RefusesARegexThatPythonRefuses) {
  EXPECT_THROW(adapter().to_hf(native(), "(", Quantization::none), Error);
  EXPECT_THROW(adapter().to_hf({}, "\\K", Quantization::none), Error);
}

TEST(ToHf, StorageGivesPlaceholdersOfThePackedShapes) {
  const StateDict hf = adapter().to_hf(native(), "", Quantization::storage);
  EXPECT_THAT(
      hf.names(),
      ElementsAre("0.mlp.experts.down_proj_blocks", "0.mlp.experts.down_proj_scales",
                  "0.self_attn.attn_module._extra_state", "0.mlp.experts.gate_up_proj_blocks",
                  "0.mlp.experts.gate_up_proj_scales", "0.mlp.experts.down_proj_bias",
                  "0.self_attn.sinks", "0.mlp.router.weight"));
  EXPECT_EQ(hf.at("0.mlp.experts.down_proj_blocks").shape(),
            (Shape{kExperts, kHidden, kIntermediate / 32, 16}));
  EXPECT_EQ(hf.at("0.mlp.experts.down_proj_scales").shape(),
            (Shape{kExperts, kHidden, kIntermediate / 32}));
  EXPECT_EQ(hf.at("0.mlp.experts.gate_up_proj_blocks").shape(),
            (Shape{kExperts, 2 * kIntermediate, kHidden / 32, 16}));
  for (const auto& [name, tensor] : hf) {
    if (name.ends_with("_blocks") || name.ends_with("_scales")) {
      EXPECT_TRUE(is_ones(tensor)) << name;
    }
  }
}

// The group count follows from the shape: NeMo AutoModel's unit test has 90 for this one.
TEST(ToHf, StorageCountsTheGroupsOfTheTensor) {
  const Tensor tensor = Tensor::empty(DType::BF16, {2, 64, 128});
  const auto hf = adapter().convert_single_tensor_to_hf("mlp.experts.gate_and_up_projs", tensor, "",
                                                        Quantization::storage);
  ASSERT_EQ(hf.size(), 2u);
  EXPECT_EQ(hf[0].second.shape(), (Shape{2, 128, 2, 16}));
  EXPECT_EQ(hf[1].second.shape(), (Shape{2, 128, 2}));
}

TEST(ToHf, PlaceholdersAreWhatFromHfTakes) {
  StateDict dict = adapter().to_hf(native(), "", Quantization::storage);
  adapter().from_hf(dict);
  const StateDict source = native();
  for (const auto& [name, tensor] : source) {
    EXPECT_EQ(dict.at(name).shape(), tensor.shape()) << name;
  }
}

TEST(ToHf, StorageCanBeExcludedByHalves) {
  const StateDict hf = adapter().to_hf(native(), ".*_blocks", Quantization::storage);
  EXPECT_FALSE(hf.contains("0.mlp.experts.down_proj_blocks"));
  EXPECT_TRUE(hf.contains("0.mlp.experts.down_proj_scales"));
}

TEST(ToHf, StorageRefusesWhatIsNotMadeOfBlocks) {
  for (const Shape& shape : {Shape{2, 48, 64}, Shape{64, 128}, Shape{1, 2, 64, 128}}) {
    try {
      adapter().convert_single_tensor_to_hf(
          "7.mlp.experts.down_projs", Tensor::empty(DType::BF16, shape), "", Quantization::storage);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::wrong_shape);
      EXPECT_EQ(error.details().tensor, "7.mlp.experts.down_projs");
      EXPECT_EQ(error.details().found, to_string(shape));
    }
  }
}

// There and back: what was decoded returns with the same values.
TEST(ToHf, ValuesAreTheWeightsQuantized) {
  for (const DType dtype : {DType::BF16, DType::F32}) {
    const GPTOSSStateDictAdapter to_dtype({}, {}, {}, dtype);
    StateDict packed;
    packed.set("0.mlp.experts.gate_up_proj_blocks",
               bytes({kExperts, 2 * kIntermediate, kHidden / 32, 16}, 1));
    packed.set("0.mlp.experts.gate_up_proj_scales",
               filled({kExperts, 2 * kIntermediate, kHidden / 32}, 119));
    StateDict dict = packed;
    to_dtype.from_hf(dict);
    const StateDict hf = to_dtype.to_hf(dict, "", Quantization::values);
    EXPECT_THAT(hf.names(), ElementsAre("0.mlp.experts.gate_up_proj_blocks",
                                        "0.mlp.experts.gate_up_proj_scales"));
    StateDict again = hf;
    to_dtype.from_hf(again);
    EXPECT_TRUE(same(again.at("0.mlp.experts.gate_and_up_projs"),
                     dict.at("0.mlp.experts.gate_and_up_projs")));
    const auto kept = GPTOSSStateDictAdapter::quantize_moe_weights(
        dict.at("0.mlp.experts.gate_and_up_projs"), QuantMode::ocp,
        &packed.at("0.mlp.experts.gate_up_proj_scales"));
    EXPECT_TRUE(same(kept.blocks, packed.at("0.mlp.experts.gate_up_proj_blocks")));
    EXPECT_TRUE(same(kept.scales, packed.at("0.mlp.experts.gate_up_proj_scales")));
  }
}

TEST(ToHf, ValuesRefuseWhatMxfp4CannotHold) {
  Tensor weights = Tensor::empty(DType::F32, {2, 64, 40});
  std::fill_n(weights.as<float>(), weights.element_count(), 0.5F);
  // Expert 1, input 35, output 7.
  weights.as<float>()[(64 + 35) * 40 + 7] = std::numeric_limits<float>::quiet_NaN();
  try {
    adapter().convert_single_tensor_to_hf("0.mlp.experts.down_projs", weights, "",
                                          Quantization::values);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::nonfinite_weight);
    EXPECT_EQ(error.details().tensor, "0.mlp.experts.down_projs");
    EXPECT_THAT(error.details().problem, HasSubstr("expert 1, row 7, column 35"));
  }
  EXPECT_THROW(GPTOSSStateDictAdapter::quantize_moe_weights(bytes({2, 64, 40}, 1)), Error);
  const Tensor wrong = bytes({2, 40, 3}, 1);
  weights.as<float>()[(64 + 35) * 40 + 7] = 0;
  EXPECT_THROW(GPTOSSStateDictAdapter::quantize_moe_weights(weights, QuantMode::gptoss, &wrong),
               Error);
}

TEST(ToHf, TwoTensorsOfOneNameAreAnError) {
  StateDict dict = native();
  dict.set("0.mlp.router.weight", Tensor::empty(DType::BF16, {1}));
  try {
    adapter().to_hf(dict);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::name_collision);
    EXPECT_EQ(error.details().tensor, "0.mlp.router.weight");
  }
}

TEST(ConvertSingleTensorToHf, GivesNothingForAnExcludedTensor) {
  const Tensor tensor = Tensor::empty(DType::BF16, {kExperts});
  EXPECT_THAT(adapter().convert_single_tensor_to_hf("0.mlp.gate.bias", tensor, ".*router",
                                                    Quantization::none),
              IsEmpty());
  const auto kept = adapter().convert_single_tensor_to_hf("0.mlp.gate.bias", tensor);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].first, "0.mlp.router.bias");
  EXPECT_EQ(kept[0].second.data(), tensor.data());
}

TEST(GetHfStateDictKeys, LeavesOutExtraState) {
  const StateDictAdapter& base = adapter();
  EXPECT_THAT(
      base.get_hf_state_dict_keys(native()),
      ElementsAre("0.mlp.experts.down_proj", "0.mlp.experts.gate_up_proj",
                  "0.mlp.experts.down_proj_bias", "0.self_attn.sinks", "0.mlp.router.weight"));
}

TEST(GPTOSSStateDictAdapter, KeepsWhatItWasMadeOf) {
  const GPTOSSStateDictAdapter made({.num_hidden_layers = 7}, {.dim = 64, .moe_inter_dim = 96},
                                    {.attn = "te"}, DType::F32);
  EXPECT_EQ(made.config().num_hidden_layers, 7);
  EXPECT_EQ(made.moe_config().moe_inter_dim, 96);
  EXPECT_EQ(made.backend().attn, "te");
  EXPECT_EQ(made.dtype(), DType::F32);
  EXPECT_EQ(adapter().dtype(), DType::BF16);
}

}  // namespace
}  // namespace mxferry::internal
