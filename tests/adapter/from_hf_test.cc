#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "tests/adapter/state_dicts.h"

namespace mxferry::internal {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const GPTOSSStateDictAdapter& adapter() {
  static const GPTOSSStateDictAdapter kAdapter({}, {}, {.attn = "te"});
  return kAdapter;
}

StateDict packed_layers(std::int64_t count) {
  StateDict dict;
  for (std::int64_t i = 0; i < count; ++i) add_packed_layer(dict, i);
  return dict;
}

TEST(FromHf, DecodesAndRenamesInPlace) {
  for (const DType dtype : {DType::BF16, DType::F16, DType::F32}) {
    StateDict dict = packed_layers(2);
    const StateDict before = dict;
    GPTOSSStateDictAdapter({}, {}, {.attn = "te"}, dtype).from_hf(dict);
    for (const std::int64_t i : {0, 1}) {
      const std::string p = layer(i);
      const Tensor& gate_up = dict.at(p + "mlp.experts.gate_and_up_projs");
      EXPECT_EQ(gate_up.shape(), (Shape{kExperts, kHidden, 2 * kIntermediate}));
      EXPECT_TRUE(same(gate_up, decoded(before.at(p + kGateUp + "_blocks"),
                                        before.at(p + kGateUp + "_scales"), dtype)));
      const Tensor& down = dict.at(p + "mlp.experts.down_projs");
      EXPECT_EQ(down.shape(), (Shape{kExperts, kIntermediate, kHidden}));
      EXPECT_TRUE(same(down, decoded(before.at(p + kDown + "_blocks"),
                                     before.at(p + kDown + "_scales"), dtype)));
      EXPECT_EQ(dict.at(p + "mlp.gate.weight").data(), before.at(p + "mlp.router.weight").data());
    }
  }
}

TEST(FromHf, KeepsTheOrderAndPutsWhatChangedAtTheEnd) {
  StateDict dict = packed_layers(1);
  adapter().from_hf(dict);
  EXPECT_THAT(
      dict.names(),
      ElementsAre(layer(0) + "input_layernorm.weight", layer(0) + "mlp.experts.down_proj_bias",
                  layer(0) + "mlp.experts.gate_up_proj_bias", layer(0) + "mlp.gate.bias",
                  layer(0) + "mlp.gate.weight", layer(0) + "self_attn.attn_module.softmax_offset",
                  layer(0) + "mlp.experts.down_projs", layer(0) + "mlp.experts.gate_and_up_projs"));
}

TEST(FromHf, TakesPairsThatAreFarApart) {
  StateDict dict = packed_layers(2);
  const StateDict before = dict;
  StateDict shuffled;
  std::vector<std::string> names = dict.names();
  std::ranges::reverse(names);
  for (const std::string& name : names) {
    if (name.ends_with("_scales")) shuffled.set(name, dict.at(name));
  }
  for (const std::string& name : names) shuffled.set(name, dict.at(name));
  adapter().from_hf(shuffled);
  adapter().from_hf(dict);
  ASSERT_EQ(shuffled.size(), dict.size());
  for (const auto& [name, tensor] : dict) EXPECT_TRUE(same(shuffled.at(name), tensor)) << name;
}

TEST(FromHf, ADenseCheckpointIsOnlyRenamed) {
  StateDict dict;
  dict.set("0.mlp.experts.down_proj", Tensor::empty(DType::BF16, {2, kIntermediate, kHidden}));
  dict.set("0.self_attn.q_proj._extra_state", Tensor::empty(DType::U8, {5}));
  const std::byte* const data = dict.at("0.mlp.experts.down_proj").data();
  adapter().from_hf(dict);
  EXPECT_THAT(dict.names(),
              ElementsAre("0.self_attn.q_proj._extra_state", "0.mlp.experts.down_projs"));
  EXPECT_EQ(dict.at("0.mlp.experts.down_projs").data(), data);
}

// Fails with the code, names the tensor, says expected and found, and leaves the dict as it was.
void expect_refused(StateDict dict, ErrorCode code, const std::string& tensor,
                    const std::string& expected, const std::string& found) {
  const StateDict before = dict;
  try {
    adapter().from_hf(dict);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_EQ(error.details().tensor, tensor);
    EXPECT_THAT(error.details().expected, HasSubstr(expected));
    EXPECT_THAT(error.details().found, HasSubstr(found));
  }
  EXPECT_TRUE(is_untouched(dict, before)) << tensor;
}

// Each defect is in the last layer: the layers before it must not have been decoded.
StateDict with(const std::function<void(StateDict&)>& defect) {
  StateDict dict = packed_layers(3);
  defect(dict);
  return dict;
}

TEST(FromHf, AMissingPartnerChangesNothing) {
  const std::string down = layer(2) + kDown;
  expect_refused(with([&](StateDict& d) { d.pop(down + "_scales"); }), ErrorCode::missing_partner,
                 down + "_blocks", "'" + down + "_scales'", "no such tensor");
  expect_refused(with([&](StateDict& d) { d.pop(down + "_blocks"); }), ErrorCode::missing_partner,
                 down + "_scales", "'" + down + "_blocks'", "no such tensor");
}

TEST(FromHf, AWrongDtypeChangesNothing) {
  const std::string blocks = layer(2) + kDown + "_blocks";
  const std::string scales = layer(2) + kDown + "_scales";
  expect_refused(
      with([&](StateDict& d) { d.set(blocks, Tensor::empty(DType::I8, d.at(blocks).shape())); }),
      ErrorCode::wrong_dtype, blocks, "U8", "I8");
  expect_refused(
      with([&](StateDict& d) { d.set(scales, Tensor::empty(DType::F32, d.at(scales).shape())); }),
      ErrorCode::wrong_dtype, scales, "U8", "F32");
}

TEST(FromHf, ShapesThatDisagreeChangeNothing) {
  const std::string blocks = layer(2) + kDown + "_blocks";
  const std::string scales = layer(2) + kDown + "_scales";
  expect_refused(with([&](StateDict& d) { d.set(scales, bytes({kExperts, kHidden, 2}, 1)); }),
                 ErrorCode::wrong_shape, scales, "[3, 64, 3]", "[3, 64, 2]");
  expect_refused(with([&](StateDict& d) { d.set(blocks, bytes({kExperts, kHidden, 48}, 1)); }),
                 ErrorCode::wrong_shape, blocks, "[experts, out, groups, 16]", "[3, 64, 48]");
}

TEST(FromHf, ACollisionChangesNothing) {
  const std::string down = layer(2) + kDown;
  expect_refused(with([&](StateDict& d) { d.set(down, bytes({1}, 1)); }), ErrorCode::name_collision,
                 down, "one of them", "'" + down + "_blocks'");
  expect_refused(with([&](StateDict& d) { d.set(down + "s", bytes({1}, 1)); }),
                 ErrorCode::name_collision, down + "s", "one of them", "'" + down + "'");
}

TEST(FromHf, TakesADtypeThatWeightsAreDecodedToOnly) {
  EXPECT_THROW(GPTOSSStateDictAdapter({}, {}, {}, DType::U8), Error);
}

// A packed tensor of the dict alone that runs a function when it is freed.
Tensor watched(Shape shape, std::shared_ptr<std::byte[]> storage, std::function<void()> on_free) {
  std::byte* const data = storage.get();
  std::shared_ptr<std::byte> owner(
      data, [keep = std::move(storage), on_free = std::move(on_free)](std::byte*) { on_free(); });
  return Tensor::wrap(std::move(owner), DType::U8, std::move(shape));
}

// Every pair holds zeros until both tensors of the pair before it are freed, which writes its true
// content: a pair that is read earlier decodes to the wrong weights.
void expect_pairs_freed_in_time(const DeviceMesh& mesh, std::int64_t experts) {
  constexpr std::size_t kPairs = 6;
  const Shape blocks_shape = {kExperts, kHidden, kIntermediate / 32, 16};
  const Shape scales_shape = {kExperts, kHidden, kIntermediate / 32};
  const auto block_bytes = static_cast<std::size_t>(element_count(blocks_shape));
  const auto scale_bytes = static_cast<std::size_t>(element_count(scales_shape));
  std::array<std::shared_ptr<std::byte[]>, kPairs + 1> blocks;
  std::array<std::shared_ptr<std::byte[]>, kPairs + 1> scales;
  std::array<int, kPairs> freed{};
  for (std::size_t i = 0; i <= kPairs; ++i) {
    blocks[i] = std::make_shared<std::byte[]>(block_bytes);
    scales[i] = std::make_shared<std::byte[]>(scale_bytes);
  }
  const auto fill = [&](std::size_t i) {
    const auto seed = static_cast<std::uint32_t>(i);
    std::memcpy(blocks[i].get(), bytes(blocks_shape, seed).data(), block_bytes);
    std::memcpy(scales[i].get(), bytes(scales_shape, seed + 100).data(), scale_bytes);
  };
  StateDict dict;
  for (std::size_t i = 0; i < kPairs; ++i) {
    const auto on_free = [&, i] {
      if (++freed[i] == 2) fill(i + 1);
    };
    const std::string name = layer(static_cast<std::int64_t>(i)) + kDown;
    dict.set(name + "_blocks", watched(blocks_shape, blocks[i], on_free));
    dict.set(name + "_scales", watched(scales_shape, scales[i], on_free));
  }
  fill(0);
  adapter().from_hf(dict, mesh);
  for (std::size_t i = 0; i < kPairs; ++i) {
    EXPECT_EQ(freed[i], 2);
    const auto seed = static_cast<std::uint32_t>(i);
    const Tensor& dense = dict.at(layer(static_cast<std::int64_t>(i)) + "mlp.experts.down_projs");
    const Tensor whole =
        decoded(bytes(blocks_shape, seed), bytes(scales_shape, seed + 100), DType::BF16);
    ASSERT_EQ(dense.shape(), (Shape{experts, kIntermediate, kHidden}));
    EXPECT_EQ(std::memcmp(dense.data(), whole.data(), dense.byte_count()), 0) << i;
  }
}

TEST(FromHf, FreesEachPairBeforeItReadsTheNext) {
  expect_pairs_freed_in_time({}, kExperts);
  expect_pairs_freed_in_time({{{.name = "ep", .size = 2}}}, 2);
}

// The caller's own references are the caller's: the packed tensors stay whole.
TEST(FromHf, LeavesTensorsThatTheCallerKeeps) {
  StateDict dict = packed_layers(1);
  const StateDict kept = dict;
  adapter().from_hf(dict);
  StateDict fresh;
  add_packed_layer(fresh, 0);
  const std::string name = layer(0) + kDown + "_blocks";
  EXPECT_TRUE(same(kept.at(name), fresh.at(name)));
  EXPECT_EQ(kept.at(name).use_count(), 1);
}

}  // namespace
}  // namespace mxferry::internal
