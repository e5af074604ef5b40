// Conversions from and to the files of the ranks of a PyTorch run.
#include "destination/dcp_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "mxferry/checkpoint_reader.h"
#include "mxferry/sample.h"
#include "mxferry/verify.h"
#include "source/source_checkpoint.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using namespace testing;  // NOLINT(google-build-using-namespace)

class RankFiles : public ::testing::Test {
 protected:
  RankFiles() {
    SampleOptions options;
    options.destination = folder_ / "packed";
    options.config.num_local_experts = 5;
    write_sample(options);
  }
  ConvertOptions options(const std::string& source, const std::string& where, int ranks) const {
    ConvertOptions options;
    options.source = folder_ / source;
    options.destination = folder_ / where;
    options.to = Layout::nemo;
    options.dcp_shards = ranks;
    options.sync = false;
    return options;
  }
  // A dense checkpoint in the nemo layout, and the same for three ranks.
  void write_both() const {
    convert(options("packed", "whole", 0));
    convert(options("packed", "ranks", 3));
  }
  std::vector<std::string> files(const std::string& where) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_ / where)) {
      const std::string name = entry.path().filename();
      if (name.find(".safetensors") != std::string::npos) names.push_back(name);
    }
    std::ranges::sort(names);
    return names;
  }
  bool same_file(const fs::path& a, const fs::path& b) const {
    const std::string content = content_of(folder_.path() / a);
    return !content.empty() && content == content_of(folder_.path() / b);
  }
  // The first fatal problem, as a conversion throws it.
  std::optional<Error> refusal(const std::string& source) const {
    return error_of([&] { (void)plan_conversion(options(source, "never", 0)); });
  }
  void expect_refusal(ErrorCode code, const std::string& text) const {
    const auto error = refusal("ranks");
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), code) << error->what();
    EXPECT_NE(std::string(error->what()).find(text), std::string::npos) << error->what();
  }

  TempFolder folder_;
};

struct Form {
  Layout layout;
  std::optional<Codec> dtype;
};

TEST_F(RankFiles, HoldTheSameWhateverTheirNumber) {
  for (const Form& form : {Form{Layout::nemo, {}}, Form{Layout::nemo, Codec::f32},
                           Form{Layout::hf, Codec::bf16}, Form{Layout::hf, Codec::mxfp4}}) {
    ConvertOptions whole = options("packed", "whole", 0);
    whole.to = form.layout;
    whole.dtype = form.dtype;
    whole.force = true;
    convert(whole);
    for (const int ranks : {1, 2, 3, 5, 7, 300}) {
      ConvertOptions cut = whole;
      cut.destination = folder_ / "ranks";
      cut.dcp_shards = ranks;
      cut.verify = true;
      const ConvertReport report = convert(cut);
      EXPECT_EQ(report.plan.tensors_out, plan_conversion(whole).tensors_out);
      EXPECT_EQ(report.plan.bytes_out, plan_conversion(whole).bytes_out);
      EXPECT_FALSE(fs::exists(cut.destination / "model.safetensors.index.json"));
      ConvertOptions back = whole;
      back.source = cut.destination;
      back.destination = folder_ / "back";
      convert(back);
      EXPECT_TRUE(same_file("back/model.safetensors", "whole/model.safetensors")) << ranks;
    }
    fs::remove_all(folder_ / "back");
  }
}

// Dense weights that are cut are quantized as whole ones are, a reference's scales kept.
TEST_F(RankFiles, MayBeQuantizedFromAndTo) {
  write_both();
  ConvertOptions encode = options("ranks", "q", 4);
  encode.to = Layout::hf;
  encode.dtype = Codec::mxfp4;
  encode.reference = folder_ / "packed";
  encode.verify = true;
  const ConvertReport report = convert(encode);
  ASSERT_EQ(report.quantized.size(), 6U);  // of three layers
  for (const QuantizedTensor& tensor : report.quantized) {
    EXPECT_EQ(tensor.kept, tensor.block_count) << tensor.blocks;
  }
  ConvertOptions back = options("q", "back", 0);
  back.to = Layout::hf;
  back.dtype = Codec::mxfp4;
  convert(back);
  ConvertOptions as_it_was = back;
  as_it_was.source = folder_ / "packed";
  as_it_was.destination = folder_ / "again";
  convert(as_it_was);
  EXPECT_TRUE(same_file("back/model.safetensors", "again/model.safetensors"));
}

TEST_F(RankFiles, AreNamedAsTorchNamesThem) {
  convert(options("packed", "ranks", 2));
  EXPECT_EQ(files("ranks"),
            (std::vector<std::string>{"shard-00001-model-00001-of-00001.safetensors",
                                      "shard-00002-model-00001-of-00001.safetensors"}));
}

TEST_F(RankFiles, GoWithoutOtherWaysToCut) {
  ConvertOptions bad = options("packed", "ranks", 2);
  bad.max_shard_size = 1'000'000;
  EXPECT_ERROR(ErrorCode::invalid_argument, plan_conversion(bad));
  bad = options("packed", "ranks", 2);
  bad.to = Layout::original;
  EXPECT_ERROR(ErrorCode::invalid_argument, plan_conversion(bad));
  for (const int ranks : {-1, 100'000}) {
    EXPECT_ERROR(ErrorCode::invalid_argument, plan_conversion(options("packed", "ranks", ranks)));
  }
}

// Files of more ranks beside the new ones would be read together with them.
TEST_F(RankFiles, ReplaceThoseOfMoreRanks) {
  for (const int ranks : {3, 2, 0, 2}) {
    ConvertOptions next = options("packed", "ranks", ranks);
    next.force = true;
    convert(next);
    EXPECT_EQ(files("ranks").size(), static_cast<std::size_t>(std::max(ranks, 1))) << ranks;
    EXPECT_FALSE(refusal("ranks"));
  }
}

TEST_F(RankFiles, MustAllBeThere) {
  write_both();
  fs::remove(folder_ / "ranks" / rank_file_name(1));
  expect_refusal(ErrorCode::missing_chunk, "there is no shard-00002-*");
}

// The end of a tensor is known from the config alone.
TEST_F(RankFiles, MustHaveTheLastOneToo) {
  write_both();
  fs::remove(folder_ / "ranks" / rank_file_name(2));
  expect_refusal(ErrorCode::wrong_shape, "the file of the last rank may be missing");
  fs::remove(folder_ / "ranks/config.json");
  const InspectReport report = inspect(folder_ / "ranks");
  EXPECT_TRUE(std::ranges::any_of(report.problems, [](const Problem& problem) {
    return problem.text.find("Nothing tells whether the file of the last rank") !=
           std::string::npos;
  }));
}

TEST_F(RankFiles, OfTwoSavesAreRefused) {
  write_both();
  convert(options("packed", "two", 2));
  fs::copy(folder_ / "ranks" / rank_file_name(2), folder_ / "two" / rank_file_name(2));
  fs::remove_all(folder_ / "ranks");
  fs::rename(folder_ / "two", folder_ / "ranks");
  expect_refusal(ErrorCode::overlapping_chunks, "and in shard-00003-model");
}

// A tensor that is not cut lies in one file, and goes with it.
TEST_F(RankFiles, WithoutATensorThatOtherLayersHaveAreRefused) {
  ConvertOptions without = options("packed", "ranks", 2);
  without.exclude = R"(.*layers\.1\.mlp\.gate\.bias)";
  convert(without);
  expect_refusal(ErrorCode::missing_tensor, "layer 1 has no");
  without.dcp_shards = 0;
  without.force = true;
  convert(without);
  EXPECT_FALSE(refusal("ranks"));
}

TEST_F(RankFiles, MayBePartOfANemoCheckpoint) {
  write_both();
  const fs::path model = folder_ / "step/model";
  fs::create_directories(model / ".hf_metadata");
  for (const auto& entry : fs::directory_iterator(folder_ / "ranks")) {
    const fs::path name = entry.path().filename();
    fs::rename(entry.path(),
               (is_weights_name(name.string()) ? model : model / ".hf_metadata") / name);
  }
  folder_.write("step/model/.hf_metadata/fqn_to_file_index_mapping.json", "{}");
  folder_.write("step/optim/__0_0.distcp", "state");
  for (const char* given : {"step", "step/model"}) {
    ConvertOptions back = options(given, "back", 0);
    back.force = true;
    const ConvertReport report = convert(back);
    EXPECT_EQ(report.plan.source, model);
    EXPECT_TRUE(report.plan.warnings.empty());
    for (const auto& entry : fs::directory_iterator(folder_ / "whole")) {
      const fs::path name = entry.path().filename();
      EXPECT_TRUE(same_file("back" / name, "whole" / name)) << name;
    }
    EXPECT_FALSE(fs::exists(folder_ / "back/fqn_to_file_index_mapping.json"));
  }
  const InspectReport report = inspect(folder_ / "step");
  EXPECT_EQ(report.path, model);
  EXPECT_TRUE(report.distributed);
  EXPECT_TRUE(report.has_config);
  ConvertOptions into = options("step", "step/model", 0);
  into.force = true;
  EXPECT_ERROR(ErrorCode::invalid_argument, convert(into));
}

// Square weights: a corner of each is read, which lies in several files.
TEST_F(RankFiles, AreLookedAtWhereShapesDoNotTell) {
  SampleOptions sample;
  sample.destination = folder_ / "square";
  sample.config.hidden_size = 64;
  sample.config.intermediate_size = 64;
  sample.dtype = Codec::bf16;
  write_sample(sample);
  ConvertOptions cut = options("square", "ranks", 2);
  cut.exclude = ".*gate_and_up_projs";
  convert(cut);
  const SourceCheckpoint checkpoint = open_source(folder_ / "ranks");
  EXPECT_EQ(checkpoint.description.square.size(),
            static_cast<std::size_t>(checkpoint.description.config.num_hidden_layers));
  for (const Problem& problem : checkpoint.problems) {
    EXPECT_EQ(problem.code, ErrorCode::missing_tensor) << problem.text;  // the ones left out
  }
}

TEST_F(RankFiles, AreReadByParts) {
  write_both();
  const CheckpointReader whole({.source = folder_ / "whole"});
  const CheckpointReader ranks({.source = folder_ / "ranks"});
  ASSERT_EQ(whole.tensors().size(), ranks.tensors().size());
  for (std::size_t i = 0; i < whole.tensors().size(); ++i) {
    const ReadableTensor& tensor = whole.tensors()[i];
    Shape begin(tensor.shape.size(), 0);
    Shape extent = tensor.shape;
    std::vector<std::int64_t> strides(extent.size(), 1);
    begin.back() = 1;
    extent.back() -= 1;
    for (std::size_t d = extent.size() - 1; d-- > 0;) strides[d] = strides[d + 1] * extent[d + 1];
    std::vector<std::uint16_t> a(static_cast<std::size_t>(element_count(extent)));
    std::vector<std::uint16_t> b(a.size(), 7);
    whole.read({{i, begin, extent, reinterpret_cast<std::byte*>(a.data()), strides}});
    ranks.read({{i, begin, extent, reinterpret_cast<std::byte*>(b.data()), strides}});
    EXPECT_EQ(a, b) << tensor.name;
  }
}

TEST_F(RankFiles, AreVerifiedAgainstWholeTensors) {
  write_both();
  VerifyOptions verify_options;
  verify_options.a = folder_ / "whole";
  verify_options.b = folder_ / "ranks";
  EXPECT_TRUE(verify(verify_options).identical());
}

}  // namespace
}  // namespace mxferry::internal
