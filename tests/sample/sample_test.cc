#include "mxferry/sample.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mxferry/inspect.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::TempFolder;

TEST(Sample, HasPresets) {
  EXPECT_EQ(parse_sample_preset("tiny"), SamplePreset::tiny);
  EXPECT_EQ(parse_sample_preset("20b-layer"), SamplePreset::layer_20b);
  EXPECT_EQ(parse_sample_preset("120b-layer"), SamplePreset::layer_120b);
  EXPECT_FALSE(parse_sample_preset("20b"));
  EXPECT_EQ(sample_config(SamplePreset::layer_120b).num_local_experts, 128);
  const GptOssConfig tiny = sample_config(SamplePreset::tiny);
  EXPECT_NE(tiny.hidden_size, tiny.intermediate_size);
}

TEST(Sample, IsASoundCheckpointWithPublishedNames) {
  const TempFolder folder;
  SampleOptions options;
  options.destination = folder / "sample";
  const SampleReport report = write_sample(options);
  EXPECT_EQ(report.dtype, Codec::mxfp4);
  EXPECT_EQ(report.tensors, 3U * 19 + 3);
  const InspectReport inspected = inspect(options.destination);
  EXPECT_TRUE(inspected.problems.empty());
  EXPECT_EQ(inspected.total.tensors, report.tensors);
  EXPECT_EQ(inspected.total.bytes, report.bytes);
  EXPECT_EQ(inspected.shards.size(), report.files);
  // OpenAI's upload counts from 0, and its "of" is one less than the number of files.
  ASSERT_EQ(report.files, 2U);
  EXPECT_EQ(inspected.shards[0].file, "model-00000-of-00001.safetensors");
  EXPECT_EQ(inspected.shards[1].file, "model-00001-of-00001.safetensors");
  for (const char* name : {"README.md", "chat_template.jinja", "generation_config.json",
                           "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_FALSE(content_of(options.destination / name).empty()) << name;
  }
}

TEST(Sample, OfOpenAisLayoutIsOneFileWithItsDtypes) {
  const TempFolder folder;
  SampleOptions options;
  options.destination = folder / "sample";
  options.to = Layout::original;
  const SampleReport report = write_sample(options);
  EXPECT_EQ(report.files, 1U);
  EXPECT_TRUE(fs::exists(options.destination / "model.safetensors"));
  const auto dtypes = nlohmann::json::parse(content_of(options.destination / "dtypes.json"));
  EXPECT_EQ(dtypes.size(), report.tensors);
  EXPECT_EQ(dtypes["block.2.mlp.mlp2_weight.scales"], "UE8");
  const auto config = nlohmann::json::parse(content_of(options.destination / "config.json"));
  EXPECT_EQ(config["num_experts"], 4);
}

TEST(Sample, IsAFunctionOfItsSeed) {
  const TempFolder folder;
  const auto shard = [&](const char* where, std::uint64_t seed) {
    SampleOptions options;
    options.destination = folder / where;
    options.seed = seed;
    write_sample(options);
    return content_of(options.destination / "model-00000-of-00001.safetensors");
  };
  const std::string first = shard("a", 1);
  EXPECT_TRUE(shard("b", 1) == first);
  EXPECT_FALSE(shard("c", 2) == first);
}

TEST(Sample, RefusesImpossibleOptions) {
  constexpr std::int64_t kLarge = std::int64_t{1} << 21;
  const std::vector<std::function<void(SampleOptions&)>> changes = {
      [](auto& o) { o.config.hidden_size = 48; },
      [](auto& o) { o.config.intermediate_size = 0; },
      [](auto& o) { o.config.num_local_experts = -1; },
      [](auto& o) { o.config.vocab_size = std::numeric_limits<std::int64_t>::max(); },
      [](auto& o) { o.dtype = Codec::f32; },
      [](auto& o) {
        o.to = Layout::nemo;
        o.dtype = Codec::mxfp4;
      },
  };
  const TempFolder folder;
  SampleOptions options;
  options.destination = folder / "sample";
  for (const auto& change : changes) {
    SampleOptions changed = options;
    change(changed);
    EXPECT_ERROR(ErrorCode::invalid_argument, write_sample(changed));
  }
  // Each size is allowed, but not their product.
  SampleOptions huge = options;
  huge.config.num_local_experts = kLarge;
  huge.config.hidden_size = kLarge / 2;
  huge.config.intermediate_size = kLarge / 2;
  EXPECT_ERROR(ErrorCode::size_overflow, write_sample(huge));
  EXPECT_FALSE(fs::exists(options.destination));
}

TEST(Sample, RefusesAFolderThatHoldsSomething) {
  const TempFolder folder;
  folder.write("sample/mine", "text");
  SampleOptions options;
  options.destination = folder / "sample";
  EXPECT_ERROR(ErrorCode::destination_exists, write_sample(options));
}

TEST(Sample, StopsOnRequestAndLeavesNothing) {
  const TempFolder folder;
  SampleOptions options;
  options.destination = folder / "sample";
  std::stop_source stop;
  stop.request_stop();
  options.stop = stop.get_token();
  EXPECT_ERROR(ErrorCode::cancelled, write_sample(options));
  EXPECT_FALSE(fs::exists(options.destination));
}

}  // namespace
}  // namespace mxferry::internal
