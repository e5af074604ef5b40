#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "tests/adapter/state_dicts.h"
#include "tests/base/expect_error.h"
#include "tests/support/meshes.h"

namespace mxferry::internal {
namespace {

using namespace testing;

GPTOSSStateDictAdapter adapter(DType dtype = DType::BF16) {
  return {{}, {}, {.attn = "te"}, dtype};
}

// One layer of random sizes; its experts packed, or dense as Hugging Face's layout has them.
StateDict any_layer(bool packed, std::int64_t block_bytes) {
  const auto experts = *rc::gen::inRange<std::int64_t>(0, 8);
  const auto hidden = *rc::gen::inRange<std::int64_t>(1, 4);  // in blocks
  const auto intermediate = *rc::gen::distinctFrom(rc::gen::inRange<std::int64_t>(1, 5), hidden);
  const auto seed = *rc::gen::arbitrary<std::uint32_t>();
  const std::int64_t width = 2 * block_bytes;
  StateDict dict;
  const auto add = [&](const std::string& name, std::int64_t out, std::int64_t groups) {
    dict.set(name + "_bias", bytes({experts, out}, seed + 1));
    if (packed) {
      dict.set(name + "_blocks", bytes({experts, out, groups, block_bytes}, seed + 2));
      dict.set(name + "_scales", bytes({experts, out, groups}, seed + 3));
      return;
    }
    const Tensor content = bytes({experts, groups * width, out, 2}, seed + 4);
    Tensor dense = Tensor::empty(DType::BF16, {experts, groups * width, out});
    std::ranges::copy_n(content.data(), static_cast<std::ptrdiff_t>(dense.byte_count()),
                        dense.data());
    dict.set(name, std::move(dense));
  };
  add(layer(0) + kGateUp, 2 * intermediate * width, hidden);
  dict.set(layer(0) + "mlp.router.weight", bytes({experts, hidden * width}, seed));
  dict.set(layer(0) + "self_attn.sinks", bytes({8}, seed));
  add(layer(0) + kDown, hidden * width, intermediate);
  return dict;
}

// Whether every rank has its slice of what a process alone would have, and all ranks together
// every element as often as the mesh replicates it.
void check_every_rank(const GPTOSSStateDictAdapter& adapter, const StateDict& source,
                      const DeviceMesh& mesh) {
  StateDict whole = source;
  adapter.from_hf(whole);
  std::map<std::string, std::vector<int>> seen;
  for (std::int64_t rank = 0; rank < mesh.rank_count(); ++rank) {
    const DeviceMesh here = at_rank(mesh, rank);
    StateDict part = source;
    adapter.from_hf(part, here);
    RC_ASSERT(part.names() == whole.names());
    for (const auto& [name, tensor] : whole) {
      RC_ASSERT(same(part.at(name), part_of(name, tensor, here, seen[name])));
    }
  }
  for (const auto& [name, counts] : seen) {
    RC_ASSERT(std::ranges::count(counts, copies(mesh, name)) == std::ssize(counts));
  }
}

RC_GTEST_PROP(FromHfOnAMesh, GivesTheSliceOfTheWhole, ()) {
  const DType dtype = *rc::gen::element(DType::BF16, DType::F16, DType::F32);
  const bool packed = *rc::gen::weightedElement<bool>({{4, true}, {1, false}});
  const auto block_bytes = *rc::gen::weightedElement<std::int64_t>({{4, 16}, {1, 3}});
  check_every_rank(adapter(dtype), any_layer(packed, block_bytes), any_mesh());
}

TEST(FromHfOnAMesh, LeavesWhatIsNotCutWhereItIs) {
  StateDict dict;
  add_packed_layer(dict, 0);
  const StateDict before = dict;
  adapter().from_hf(dict, {{{.name = "ep", .size = 3}, {.name = "tp", .size = 2}}});
  for (const char* name : {"mlp.router.weight", "input_layernorm.weight", "self_attn.sinks"}) {
    EXPECT_EQ(before.at(layer(0) + name).use_count(), 2) << name;
  }
  const std::string bias = layer(0) + "mlp.experts.down_proj_bias";
  EXPECT_EQ(before.at(bias).use_count(), 1);
  EXPECT_EQ(dict.at(bias).shape(), (Shape{1, kHidden}));
}

// Inputs 24 to 47 of down_projs: the end of one block and the beginning of the next.
TEST(FromHfOnAMesh, CutsThroughABlock) {
  StateDict dict;
  add_packed_layer(dict, 0);
  const DeviceMesh mesh{{{.name = "ep_shard", .size = 4, .coordinate = 1}}};
  const std::string name = layer(0) + kDown;
  const Tensor whole = decoded(dict.at(name + "_blocks"), dict.at(name + "_scales"), DType::BF16);
  adapter().from_hf(dict, mesh);
  const Tensor& part = dict.at(layer(0) + "mlp.experts.down_projs");
  ASSERT_EQ(part.shape(), (Shape{kExperts, 24, kHidden}));
  for (std::int64_t i = 0; i < part.element_count(); ++i) {
    const std::int64_t expert = i / (24 * kHidden);
    const std::int64_t in_whole = i + (expert * (kIntermediate - 24) + 24) * kHidden;
    ASSERT_EQ(part.as<std::uint16_t>()[i], whole.as<std::uint16_t>()[in_whole]);
  }
  EXPECT_EQ(dict.at(layer(0) + "mlp.experts.gate_up_proj_bias").shape(),
            (Shape{kExperts, 2 * kIntermediate / 4}));
}

TEST(FromHfOnAMesh, KnowsHowNeMoCutsExperts) {
  using Placements = std::vector<Placement>;
  const auto placements = [](const std::vector<std::string>& names) {
    DeviceMesh mesh;
    for (const std::string& name : names) mesh.dimensions.push_back({.name = name});
    return GPTOSSStateDictAdapter::expert_placements(mesh);
  };
  EXPECT_EQ(placements({}), Placements());
  EXPECT_EQ(placements({"ep_shard", "ep"}), (Placements{Shard{1}, Shard{0}}));
  EXPECT_EQ(placements({"ep", "dp_replicate", "ep_shard"}),
            (Placements{Shard{0}, Replicate(), Shard{1}}));
  EXPECT_EQ(placements({"pp", "dp", "dp_shard", "dp_shard_cp", "dp_cp", "cp", "tp"}),
            Placements(7, Replicate()));
}

// Fails with the code and leaves the dict as it was.
void expect_refused(const StateDict& source, const DeviceMesh& mesh, ErrorCode code,
                    const std::string& tensor, const std::string& found) {
  StateDict dict = source;
  const auto error = error_of([&] { adapter().from_hf(dict, mesh); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), code);
  EXPECT_EQ(error->details().tensor, tensor);
  EXPECT_EQ(error->details().found, found);
  EXPECT_TRUE(is_untouched(dict, source));
}

TEST(FromHfOnAMesh, AWrongMeshChangesNothing) {
  StateDict dict;
  add_packed_layer(dict, 0);
  const auto refuses = [&](const DeviceMesh& mesh, const std::string& found) {
    expect_refused(dict, mesh, ErrorCode::invalid_argument, "", found);
    expect_refused({}, mesh, ErrorCode::invalid_argument, "", found);
  };
  refuses({{{.name = "ep", .size = 2, .coordinate = 2}}}, "2");
  refuses({{{.name = "ep", .size = 2, .coordinate = -1}}}, "-1");
  refuses({{{.name = "ep", .size = -2}}}, "-2");
  refuses({{{.name = "ep", .size = 0}}}, "0");
  refuses({{{.name = "ep"}, {.name = "ep"}}}, "'ep' twice");
  refuses({{{.name = "ep-shard", .size = 2}, {.name = "ep", .size = 2}}}, "'ep-shard'");
  refuses({{{.name = "EP", .size = 2}}}, "'EP'");
  refuses({{{.name = ""}}}, "''");
}

TEST(FromHfOnAMesh, ATensorThatCannotBeCutChangesNothing) {
  const DeviceMesh mesh{{{.name = "ep_shard", .size = 2}, {.name = "ep", .size = 2}}};
  const std::string name = layer(1) + "mlp.experts.down_proj_bias";
  StateDict dict;
  add_packed_layer(dict, 0);
  dict.set(name, bytes({8}, 1));
  expect_refused(dict, mesh, ErrorCode::wrong_shape, name, "[8]");
  dict.set(name, Tensor::empty(DType::F4, {8, 8}));
  expect_refused(dict, mesh, ErrorCode::unsupported, name, "F4");
  adapter().from_hf(dict, {{{.name = "tp", .size = 2}}});
  EXPECT_EQ(dict.at(name).shape(), (Shape{8, 8}));
}

}  // namespace
}  // namespace mxferry::internal
