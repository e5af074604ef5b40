#include "mxferry/load_checkpoint.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "mxferry/convert.h"
#include "mxferry/safetensors.h"
#include "mxferry/sample.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"
#include "tests/support/meshes.h"

namespace mxferry::internal {
namespace {

using testing::at_rank;
using testing::error_of;
using testing::TempFolder;

GptOssConfig config_of(std::int64_t experts, std::int64_t hidden, std::int64_t intermediate) {
  return {.num_hidden_layers = 1,
          .num_local_experts = experts,
          .hidden_size = hidden,
          .intermediate_size = intermediate,
          .num_attention_heads = 2,
          .num_key_value_heads = 1,
          .head_dim = 8,
          .vocab_size = 16};
}

std::string sample(const TempFolder& folder, const GptOssConfig& config, Layout layout = Layout::hf,
                   std::optional<Codec> dtype = {}) {
  SampleOptions options;
  options.destination = folder / (std::string(name(layout)) + (dtype ? "_dense" : "_packed"));
  options.config = config;
  options.to = layout;
  options.dtype = dtype;
  write_sample(options);
  return options.destination;
}

StateDict files_of(const std::string& checkpoint) {
  StateDict dict;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint)) {
    if (entry.path().extension() != ".safetensors") continue;
    for (const auto& [name, tensor] : load_safetensors(entry.path())) dict.set(name, tensor);
  }
  return dict;
}

GPTOSSStateDictAdapter adapter(DType dtype = DType::BF16) {
  return {{}, {}, {}, dtype};
}

// The first name at which the two are not the same, in any order; empty where there is none.
std::string first_difference(const StateDict& found, const StateDict& expected) {
  if (found.size() != expected.size()) return "the number of tensors";
  for (const auto& [name, tensor] : expected) {
    if (!found.contains(name)) return name;
    const Tensor& other = found.at(name);
    const bool same = other.shape() == tensor.shape() && other.dtype() == tensor.dtype() &&
                      (tensor.byte_count() == 0 ||
                       std::memcmp(other.data(), tensor.data(), tensor.byte_count()) == 0);
    if (!same) return name;
  }
  return "";
}

// One checkpoint of each geometry and dtype, written when it is first asked for: that takes longer
// than all that is done with it.
class Samples {
 public:
  const std::string& of(const GptOssConfig& config, std::optional<Codec> dtype) {
    const std::string key = std::to_string(config.num_local_experts) + '_' +
                            std::to_string(config.hidden_size) + '_' +
                            std::to_string(config.intermediate_size) + (dtype ? "_dense" : "");
    const auto [sample, is_new] = samples_.try_emplace(key, folder_ / key);
    if (is_new) {
      SampleOptions options;
      options.destination = sample->second;
      options.config = config;
      options.dtype = dtype;
      write_sample(options);
    }
    return sample->second;
  }

 private:
  TempFolder folder_;
  std::map<std::string, std::string> samples_;
};

TEST(LoadCheckpoint, GivesWhatFromHfLeaves) {
  Samples samples;
  EXPECT_TRUE(rc::check([&] {
    const auto experts = *rc::gen::element<std::int64_t>(1, 5, 7);
    const auto hidden = 32 * *rc::gen::inRange<std::int64_t>(1, 4);
    const auto intermediate = *rc::gen::element(hidden + 32, 2 * hidden);
    const auto dtype = *rc::gen::element(DType::BF16, DType::F16, DType::F32);
    const auto stored = *rc::gen::element(std::optional<Codec>(), std::optional(Codec::bf16));
    const DeviceMesh mesh = testing::any_mesh();
    const std::string& source = samples.of(config_of(experts, hidden, intermediate), stored);
    const StateDict files = files_of(source);
    for (std::int64_t rank = 0; rank < mesh.rank_count(); ++rank) {
      const DeviceMesh here = at_rank(mesh, rank);
      StateDict expected = files;
      adapter(dtype).from_hf(expected, here);
      RC_ASSERT(first_difference(load_checkpoint(source, adapter(dtype), here).state_dict,
                                 expected) == "");
    }
  }));
}

TEST(LoadCheckpoint, TakesEveryLayout) {
  const TempFolder folder;
  const GptOssConfig config = config_of(3, 64, 96);
  const DeviceMesh mesh{{{.name = "ep_shard", .size = 4, .coordinate = 1},
                         {.name = "ep", .size = 2, .coordinate = 1}}};
  const StateDict expected = load_checkpoint(sample(folder, config), adapter(), mesh).state_dict;
  EXPECT_EQ(expected.at("model.layers.0.mlp.experts.gate_and_up_projs").shape(),
            (Shape{1, 16, 192}));
  for (const auto& [layout, dtype] : {std::pair(Layout::original, std::optional<Codec>()),
                                      std::pair(Layout::nemo, std::optional(Codec::bf16))}) {
    const std::string source = sample(folder, config, layout, dtype);
    EXPECT_EQ(first_difference(load_checkpoint(source, adapter(), mesh).state_dict, expected), "");
  }
}

// As from_hf() does: what is not decoded keeps its dtype, whatever the adapter's is.
TEST(LoadCheckpoint, KeepsTheDtypeOfWhatIsNotDecoded) {
  const TempFolder folder;
  ConvertOptions options;
  options.source = sample(folder, config_of(3, 64, 96));
  options.destination = folder / "f32";
  options.dtype = Codec::mxfp4;
  options.dense_dtype = DType::F32;
  convert(options);
  const StateDict loaded = load_checkpoint(options.destination, adapter(DType::F16)).state_dict;
  EXPECT_EQ(loaded.at("model.norm.weight").dtype(), DType::F32);
  EXPECT_EQ(loaded.at("model.layers.0.mlp.experts.down_projs").dtype(), DType::F16);
  StateDict expected = files_of(options.destination);
  adapter(DType::F16).from_hf(expected);
  EXPECT_EQ(first_difference(loaded, expected), "");
}

TEST(LoadCheckpoint, NamesTheSinksAsTheBackendDoes) {
  const TempFolder folder;
  const std::string source = sample(folder, config_of(3, 64, 96));
  for (const auto& [attn, name] : {std::pair("te", "attn_module.softmax_offset"),
                                   std::pair("flex", "sinks"), std::pair("sdpa", "sinks")}) {
    const GPTOSSStateDictAdapter adapter({}, {}, {.attn = attn});
    const StateDict loaded = load_checkpoint(source, adapter).state_dict;
    EXPECT_TRUE(loaded.contains(std::string("model.layers.0.self_attn.") + name)) << attn;
  }
}

// Bytes of tensor data in the files.
struct StoredBytes {
  std::uint64_t experts = 0;
  std::uint64_t others = 0;
};

StoredBytes stored_bytes(const std::string& checkpoint) {
  StoredBytes bytes;
  for (const auto& [name, tensor] : files_of(checkpoint)) {
    (testing::is_of_experts(name) ? bytes.experts : bytes.others) += tensor.byte_count();
  }
  return bytes;
}

TEST(LoadCheckpoint, ReadsTheBytesOfItsOwnExpertsAlone) {
  for (const std::int64_t experts : {8, 6}) {
    for (const std::optional<Codec> dtype : {std::optional<Codec>(), std::optional(Codec::bf16)}) {
      const TempFolder folder;
      const std::string source = sample(folder, config_of(experts, 64, 96), Layout::hf, dtype);
      const StoredBytes stored = stored_bytes(source);
      ASSERT_EQ(stored.experts % static_cast<std::uint64_t>(experts), 0U);
      const std::uint64_t one = stored.experts / static_cast<std::uint64_t>(experts);
      for (const std::int64_t ranks : {1, 2, 4, 8}) {
        std::uint64_t of_experts = 0;
        for (std::int64_t rank = 0; rank < ranks; ++rank) {
          const DeviceMesh mesh{{{.name = "ep", .size = ranks, .coordinate = rank}}};
          const auto own = std::ssize(testing::indices(mesh, "ep", experts));
          const LoadedCheckpoint loaded = load_checkpoint(source, adapter(), mesh);
          EXPECT_EQ(loaded.bytes_read, static_cast<std::uint64_t>(own) * one + stored.others)
              << experts << " experts, rank " << rank << " of " << ranks;
          of_experts += loaded.bytes_read - stored.others;
        }
        EXPECT_EQ(of_experts, stored.experts);
      }
    }
  }
}

// Rows of 16 KiB of blocks and 1 KiB of scales: half a row of blocks is left out, half a row of
// scales is less than a page and may be read. Of down_proj each rank needs the one block of a row.
TEST(LoadCheckpoint, ReadsNoLongPiecesOfRowsThatAreOfOthers) {
  const TempFolder folder;
  const std::string source = sample(folder, config_of(1, 32'768, 32));
  const StateDict files = files_of(source);
  const std::string gate_up = "model.layers.0.mlp.experts.gate_up_proj";
  const StoredBytes stored = stored_bytes(source);
  const std::uint64_t biases = files.at(gate_up + "_bias").byte_count() +
                               files.at("model.layers.0.mlp.experts.down_proj_bias").byte_count();
  const std::uint64_t most =
      stored.experts + stored.others - files.at(gate_up + "_blocks").byte_count() / 2 - biases / 2;
  for (const std::int64_t rank : {0, 1}) {
    const std::uint64_t read =
        load_checkpoint(source, adapter(), {{{.name = "ep_shard", .size = 2, .coordinate = rank}}})
            .bytes_read;
    EXPECT_LE(read, most);
    EXPECT_GE(read, most - files.at(gate_up + "_scales").byte_count() / 2);
  }
}

TEST(LoadCheckpoint, ReportsProgressAndStops) {
  const TempFolder folder;
  const std::string source = sample(folder, config_of(4, 64, 96));
  ConvertProgress last;
  const LoadedCheckpoint loaded = load_checkpoint(
      source, adapter(), {{{.name = "ep", .size = 4, .coordinate = 3}}},
      {.read = {.threads = 1, .progress = [&](const ConvertProgress& now) { last = now; }}});
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : loaded.state_dict) bytes += tensor.byte_count();
  EXPECT_EQ(last.bytes_done, bytes);
  EXPECT_EQ(last.bytes_total, bytes);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_ERROR(ErrorCode::cancelled,
               load_checkpoint(source, adapter(), {}, {.read = {.stop = stop.get_token()}}));
}

TEST(LoadCheckpoint, RefusesAMeshBeforeItLooksForFiles) {
  const TempFolder folder;
  const auto refuses = [&](const DeviceMesh& mesh, ErrorCode code) {
    EXPECT_ERROR(code, load_checkpoint(folder / "none", adapter(), mesh));
  };
  refuses({}, ErrorCode::not_a_checkpoint);
  refuses({{{.name = "ep", .size = 2, .coordinate = 2}}}, ErrorCode::invalid_argument);
  refuses({{{.name = "ep", .size = -1}}}, ErrorCode::invalid_argument);
  refuses({{{.name = "ep"}, {.name = "ep"}}}, ErrorCode::invalid_argument);
  refuses({{{.name = "experts", .size = 2}}}, ErrorCode::invalid_argument);
}

TEST(LoadCheckpoint, RefusesATensorOfTheExpertsThatCannotBeCut) {
  const TempFolder folder;
  const std::string source = sample(folder, config_of(2, 64, 96));
  const std::string name = "drafter.mlp.experts.down_proj_bias";  // no layer's
  StateDict more;
  more.set(name, Tensor::empty(DType::U8, {8}));
  std::filesystem::remove(std::filesystem::path(source) / "model.safetensors.index.json");
  save_safetensors(more, std::filesystem::path(source) / "more.safetensors");
  const auto error =
      error_of([&] { load_checkpoint(source, adapter(), {{{.name = "ep_shard", .size = 2}}}); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::wrong_shape);
  EXPECT_EQ(error->details().tensor, name);
  const DeviceMesh experts{{{.name = "ep", .size = 2, .coordinate = 1}}};
  EXPECT_EQ(load_checkpoint(source, adapter(), experts).state_dict.at(name).shape(), Shape{4});
}

}  // namespace
}  // namespace mxferry::internal
