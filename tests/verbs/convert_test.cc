#include "mxferry/convert.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/shard_index.h"
#include "mxferry/sample.h"
#include "source/source_checkpoint.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"
#include "tests/support/check_conversion.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using namespace testing;  // NOLINT(google-build-using-namespace)

struct Form {
  Layout layout;
  const char* attn;
  Codec codec;
};
// All that a sample can have.
const std::vector<Form>& forms() {
  static const std::vector<Form> all = {{Layout::hf, "flex", Codec::mxfp4},
                                        {Layout::hf, "flex", Codec::bf16},
                                        {Layout::nemo, "flex", Codec::bf16},
                                        {Layout::nemo, "te", Codec::bf16},
                                        {Layout::original, "flex", Codec::mxfp4},
                                        {Layout::original, "flex", Codec::bf16},
                                        {Layout::torchtitan, "flex", Codec::bf16},
                                        {Layout::unsloth, "flex", Codec::bf16},
                                        {Layout::mlx, "flex", Codec::mxfp4},
                                        {Layout::mlx, "flex", Codec::bf16},
                                        {Layout::compressed_tensors, "flex", Codec::mxfp4},
                                        {Layout::compressed_tensors, "flex", Codec::bf16}};
  return all;
}
std::string text(const Form& form) {
  return std::string(name(form.layout)) + "_" + form.attn + "_" + std::string(name(form.codec));
}

class ConvertTest : public ::testing::Test {
 protected:
  std::string sample(const Form& form, const std::string& where, bool wild = false) const {
    SampleOptions options;
    options.destination = folder_ / where;
    options.to = form.layout;
    options.backend.attn = form.attn;
    options.dtype = form.codec;
    options.wild = wild;
    write_sample(options);
    return options.destination;
  }
  ConvertOptions options(const std::string& source, const std::string& where) const {
    ConvertOptions options;
    options.source = source;
    options.destination = folder_ / where;
    options.sync = false;
    return options;
  }
  ConvertOptions options(const std::string& source, const std::string& where,
                         const Form& to) const {
    ConvertOptions result = options(source, where);
    result.to = to.layout;
    result.backend.attn = to.attn;
    result.dtype = to.codec;
    return result;
  }
  // Weights that are infinite, in the first shard's first scales.
  void spoil(const std::string& source) const {
    const SourceCheckpoint checkpoint = open_source(source);
    const auto scales = std::ranges::find_if(
        checkpoint.catalog, [](const StoredTensor& t) { return t.name.ends_with("_scales"); });
    std::fstream file(checkpoint.folder.shards[scales->shard].path,
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(scales->offset + 5));
    file.put('\xFF');
  }

  TempFolder folder_;
};

std::set<std::string> file_names(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

// Every tensor of a checkpoint with its header entry, whatever file it is in.
std::map<std::string, std::string> contents(const std::string& source) {
  const SourceCheckpoint checkpoint = open_source(source);
  std::vector<std::string> files;
  for (const ShardFile& shard : checkpoint.folder.shards) files.push_back(content_of(shard.path));
  std::map<std::string, std::string> tensors;
  for (const StoredTensor& tensor : checkpoint.catalog) {
    tensors[tensor.name] = std::string(name(tensor.dtype)) + to_string(tensor.shape) +
                           files[tensor.shard].substr(tensor.offset, tensor.byte_count);
  }
  return tensors;
}

nlohmann::json json_of(const fs::path& file) {
  return nlohmann::json::parse(content_of(file));
}

TEST_F(ConvertTest, MakesOfEverySampleTheSampleOfEveryOtherForm) {
  for (const Form& form : forms()) sample(form, text(form));
  for (const Form& from : forms()) {
    for (const Form& to : forms()) {
      const std::string source = folder_ / text(from);
      const std::string where = text(from) + "_to_" + text(to);
      ConvertOptions to_form = options(source, where, to);
      // Without the scales that it had, a block may return as its twin.
      if (to.codec == Codec::mxfp4) to_form.reference = folder_ / text(forms()[0]);
      const ConvertReport report = convert(to_form);
      EXPECT_TRUE(contents(folder_ / where) == contents(folder_ / text(to))) << where;
      const CheckResult result = check_conversion(source, folder_ / where);
      EXPECT_EQ(result.difference, "") << where;
      EXPECT_GT(result.weights, 100'000U);
      EXPECT_EQ(report.underflows, 0U);
      const SourceCheckpoint made = open_source(folder_ / where);
      EXPECT_TRUE(made.problems.empty()) << where << ": " << made.problems[0].text;
      EXPECT_EQ(made.description.config.hidden_size, 64);
    }
  }
}

TEST_F(ConvertTest, RoundsToEveryDtype) {
  const std::string source = sample(forms()[0], "source", true);
  for (const Codec codec : {Codec::bf16, Codec::f32}) {
    for (const DType dense : {DType::BF16, DType::F16, DType::F32}) {
      ConvertOptions to = options(source, "out", {Layout::hf, "flex", codec});
      to.dense_dtype = dense;
      to.force = true;
      convert(to);
      EXPECT_EQ(check_conversion(source, folder_ / "out").difference, "");
    }
  }
}

TEST_F(ConvertTest, GivesTheSameFilesWithAnyThreadsAndMemory) {
  const std::string source = sample(forms()[0], "source");
  const auto files = [&](int threads, std::uint64_t max_memory) {
    ConvertOptions to = options(source, "out", {Layout::nemo, "flex", Codec::f32});
    to.threads = threads;
    to.max_memory = max_memory;
    to.max_shard_size = 300'000;
    to.force = true;
    convert(to);
    std::map<std::string, std::string> result;
    for (const std::string& name : file_names(folder_ / "out")) {
      result[name] = content_of(folder_ / "out" / name);
    }
    return result;
  };
  const auto first = files(1, std::uint64_t{1} << 30);
  EXPECT_GT(first.size(), 9U);
  EXPECT_TRUE(files(4, std::uint64_t{1} << 30) == first);
  EXPECT_TRUE(files(2, std::uint64_t{17} << 20) == first);
}

TEST_F(ConvertTest, WritesShardsIndexConfigAndSideFiles) {
  const std::string source = sample(forms()[0], "source");
  ConvertOptions to = options(source, "out");
  to.max_shard_size = 400'000;
  const ConvertPlan plan = plan_conversion(to);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  const ConvertReport report = convert(to);
  ASSERT_GT(plan.shards.size(), 1U);
  EXPECT_EQ(report.plan.shards.size(), plan.shards.size());
  const nlohmann::json index = json_of(folder_ / "out" / kIndexName);
  EXPECT_EQ(index["metadata"]["total_size"], plan.bytes_out);
  EXPECT_EQ(index["weight_map"].size(), plan.tensors_out);
  std::uint64_t disk = 0;
  for (const PlannedShard& shard : plan.shards) {
    EXPECT_EQ(fs::file_size(folder_ / "out" / shard.file), shard.bytes);
    disk += shard.bytes;
    for (const TensorInfo& tensor : shard.tensors) {
      EXPECT_EQ(index["weight_map"][tensor.name], shard.file);
    }
  }
  EXPECT_GT(plan.disk_needed, disk);
  const nlohmann::json config = json_of(folder_ / "out/config.json");
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(plan.carried.size(), 6U);
  for (const std::string& name : plan.carried) {
    EXPECT_EQ(content_of(folder_ / "out" / name), content_of(fs::path(source) / name));
  }
  EXPECT_EQ(file_names(folder_ / "out").size(), plan.carried.size() + plan.shards.size() + 2);
}

TEST_F(ConvertTest, LeavesOutWhatIsExcluded) {
  const std::string source = sample(forms()[0], "source");
  ConvertOptions to = options(source, "out", forms()[2]);
  to.exclude = R"(.*\.mlp\.gate\.(weight|bias)|lm_head)";
  const ConvertReport report = convert(to);
  EXPECT_EQ(report.plan.excluded, 7U);
  for (const auto& [name, content] : contents(folder_ / "out")) {
    EXPECT_EQ(name.find("mlp.gate"), std::string::npos);
    EXPECT_NE(name, "lm_head.weight");
  }
}

TEST_F(ConvertTest, RefusesANonfiniteBlockAndLeavesNothing) {
  const std::string source = sample(forms()[0], "source");
  spoil(source);
  ConvertOptions to = options(source, "out");
  EXPECT_ERROR(ErrorCode::nonfinite_block, convert(to));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  to.allow_nonfinite = true;
  convert(to);
  EXPECT_EQ(check_conversion(source, folder_ / "out").difference, "");
  // Packed to packed never looks inside.
  convert(options(source, "packed", forms()[4]));
  EXPECT_EQ(check_conversion(source, folder_ / "packed").difference, "");
}

TEST_F(ConvertTest, LeavesOtherFilesOfTheDestinationWhenItFails) {
  const std::string source = sample(forms()[0], "source");
  spoil(source);
  folder_.write("out/notes.txt", "mine");
  ConvertOptions to = options(source, "out");
  to.force = true;
  EXPECT_ERROR(ErrorCode::nonfinite_block, convert(to));
  EXPECT_EQ(file_names(folder_ / "out"), std::set<std::string>{"notes.txt"});
}

TEST_F(ConvertTest, ReplacesACheckpointOnlyByForce) {
  const std::string source = sample(forms()[0], "source");
  ConvertOptions to = options(source, "out");
  to.max_shard_size = 200'000;
  convert(to);
  const auto before = file_names(folder_ / "out");
  EXPECT_ERROR(ErrorCode::destination_exists, convert(to));
  EXPECT_EQ(file_names(folder_ / "out"), before);
  to.max_shard_size = 5'000'000'000;
  to.force = true;
  convert(to);
  const auto after = file_names(folder_ / "out");
  EXPECT_TRUE(after.contains("model.safetensors"));
  EXPECT_FALSE(after.contains(kIndexName));
  EXPECT_EQ(std::ranges::count_if(after, [](const auto& n) { return n.ends_with(".safetensors"); }),
            1);
}

TEST_F(ConvertTest, StopsOnRequestAndLeavesNothing) {
  const std::string source = sample(forms()[0], "source");
  std::stop_source stop;
  ConvertOptions to = options(source, "out");
  to.stop = stop.get_token();
  to.progress = [&](const ConvertProgress&) { stop.request_stop(); };
  EXPECT_ERROR(ErrorCode::cancelled, convert(to));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(ConvertTest, ReportsProgressUpToTheEnd) {
  const std::string source = sample(forms()[0], "source");
  ConvertOptions to = options(source, "out");
  std::vector<ConvertProgress> reports;
  to.progress = [&](const ConvertProgress& progress) { reports.push_back(progress); };
  const ConvertReport report = convert(to);
  ASSERT_FALSE(reports.empty());
  EXPECT_TRUE(std::ranges::is_sorted(reports, {}, &ConvertProgress::bytes_done));
  EXPECT_EQ(reports.back().bytes_done, report.plan.bytes_out);
  EXPECT_EQ(reports.back().bytes_total, report.plan.bytes_out);
}

TEST_F(ConvertTest, RefusesImpossibleOptions) {
  const std::string source = sample(forms()[0], "source");
  struct Row {
    ErrorCode code;
    std::function<void(ConvertOptions&)> change;
  };
  const std::vector<Row> table = {
      {ErrorCode::invalid_argument, [](auto& o) { o.backend.attn = "sdpa"; }},
      {ErrorCode::invalid_argument, [](auto& o) { o.max_shard_size = 0; }},
      {ErrorCode::invalid_argument, [](auto& o) { o.threads = -1; }},
      {ErrorCode::invalid_argument, [](auto& o) { o.dense_dtype = DType::U8; }},
      {ErrorCode::invalid_argument, [](auto& o) { o.exclude = "("; }},
      {ErrorCode::invalid_argument, [](auto& o) { o.destination = o.source; }},
      {ErrorCode::not_enough_memory, [](auto& o) { o.max_memory = 1; }},
      {ErrorCode::not_a_checkpoint, [](auto& o) { o.source += "/gone"; }},
      {ErrorCode::invalid_argument,
       [](auto& o) {
         o.to = Layout::nemo;
         o.dtype = Codec::mxfp4;
       }},
  };
  for (const Row& row : table) {
    ConvertOptions to = options(source, "out");
    row.change(to);
    EXPECT_ERROR(row.code, convert(to));
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  }
}

TEST_F(ConvertTest, RefusesAFlawedSource) {
  const std::string source = sample(forms()[0], "source");
  const fs::path index = fs::path(source) / kIndexName;
  nlohmann::json json = json_of(index);
  json["weight_map"]["model.layers.0.of.no.kind"] = "gone.safetensors";
  folder_.write("source/" + std::string(kIndexName), json.dump());
  EXPECT_ERROR(ErrorCode::missing_shard, plan_conversion(options(source, "out")));
  // The same parameter is there, packed: the key is stale.
  json["weight_map"].erase("model.layers.0.of.no.kind");
  json["weight_map"]["model.layers.0.mlp.experts.down_proj"] = "gone.safetensors";
  folder_.write("source/" + std::string(kIndexName), json.dump());
  EXPECT_EQ(plan_conversion(options(source, "out")).warnings.size(), 1U);
}

TEST_F(ConvertTest, WorksWithoutConfig) {
  const std::string source = sample(forms()[4], "source");
  fs::remove(fs::path(source) / "config.json");
  const ConvertReport report = convert(options(source, "out"));
  EXPECT_EQ(report.plan.warnings.size(), 1U);
  EXPECT_FALSE(fs::exists(folder_ / "out/config.json"));
  EXPECT_EQ(check_conversion(source, folder_ / "out").difference, "");
}

}  // namespace
}  // namespace mxferry::internal
