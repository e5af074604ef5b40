#include "mxferry/checkpoint_writer.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/folder.h"
#include "mxferry/convert.h"
#include "mxferry/safetensors.h"
#include "mxferry/sample.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    files[entry.path().filename()] = testing::content_of(entry.path());
  }
  return files;
}

// The tensors of all files of a folder.
StateDict load_folder(const fs::path& folder) {
  StateDict all;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    for (auto& [name, tensor] : load_safetensors(entry.path())) all.set(name, tensor);
  }
  return all;
}

std::size_t size_of(const Tensor& tensor) {
  return static_cast<std::size_t>(bits(tensor.dtype()) / 8);
}

std::vector<std::int64_t> strides_of(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// The box of a tensor that memory holds whole.
ConstRegion box(std::size_t index, const Tensor& tensor, const Shape& begin, const Shape& extent) {
  const std::vector<std::int64_t> strides = strides_of(tensor.shape());
  std::int64_t element = 0;
  for (std::size_t i = 0; i < begin.size(); ++i) element += begin[i] * strides[i];
  return {.tensor = index,
          .begin = begin,
          .extent = extent,
          .data = tensor.data() + static_cast<std::size_t>(element) * size_of(tensor),
          .strides = strides};
}

// A model in memory, and the folder that it is from.
struct Model {
  fs::path folder;
  std::vector<std::pair<std::string, Tensor>> tensors;

  WriterOptions options(const fs::path& destination) const {
    WriterOptions options;
    options.destination = destination;
    options.config = testing::content_of(folder / "config.json");
    options.side_files = folder;
    for (const auto& [name, tensor] : tensors) {
      options.tensors.push_back({name, tensor.dtype(), tensor.shape()});
    }
    options.dtype = Codec::mxfp4;
    options.max_shard_size = 40'000;
    options.sync = false;
    return options;
  }

  std::vector<ConstRegion> whole() const {
    std::vector<ConstRegion> regions;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& tensor = tensors[i].second;
      regions.push_back(box(i, tensor, Shape(tensor.shape().size(), 0), tensor.shape()));
    }
    return regions;
  }
};

void write_whole(const WriterOptions& options, const std::vector<ConstRegion>& regions) {
  CheckpointWriter writer(options);
  writer.create();
  writer.write(regions);
  writer.sync();
  writer.commit();
}

class CheckpointWriterTest : public ::testing::Test {
 protected:
  // The tiny sample with weights of this dtype, in native names.
  Model model(DType dtype = DType::BF16) const {
    const fs::path sampled = folder_ / "sample";
    SampleOptions sample;
    sample.destination = sampled;
    if (!fs::exists(sampled)) write_sample(sample);
    ConvertOptions options = converting(sampled, folder_ / ("dense_" + std::string(name(dtype))));
    options.to = Layout::nemo;
    options.dtype = dense_codec(dtype);
    convert(options);
    Model model{.folder = options.destination, .tensors = {}};
    for (auto& [name, tensor] : load_folder(model.folder)) model.tensors.emplace_back(name, tensor);
    return model;
  }

  static ConvertOptions converting(const fs::path& source, const fs::path& destination) {
    ConvertOptions options;
    options.source = source;
    options.destination = destination;
    options.max_shard_size = 40'000;
    options.sync = false;
    options.force = true;
    return options;
  }

  // What a conversion of the model's folder writes with the same options.
  std::map<std::string, std::string> converted(const Model& model,
                                               const WriterOptions& writer) const {
    ConvertOptions options = converting(model.folder, folder_ / "converted");
    options.dtype = writer.dtype;
    options.dense_dtype = writer.dense_dtype;
    options.reference = writer.reference;
    options.quant_mode = writer.quant_mode;
    convert(options);
    return contents(options.destination);
  }

  testing::TempFolder folder_;
};

TEST_F(CheckpointWriterTest, WritesTheFilesOfAConversion) {
  for (const DType from : {DType::BF16, DType::F16, DType::F32}) {
    const Model source = model(from);
    for (const std::optional<Codec> to : {std::optional(Codec::mxfp4), std::optional(Codec::bf16),
                                          std::optional(Codec::f32), std::optional<Codec>()}) {
      WriterOptions options = source.options(folder_ / "written");
      options.dtype = to;
      options.force = true;
      if (to == Codec::mxfp4) {
        options.dense_dtype = DType::F32;
        options.reference = folder_ / "sample";
      }
      write_whole(options, source.whole());
      EXPECT_EQ(contents(options.destination), converted(source, options));
    }
  }
}

// Cuts each dimension but `in` of what is quantized at random places.
std::vector<ConstRegion> cut(const CheckpointWriter& writer, const Model& model) {
  std::vector<ConstRegion> regions;
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    const Tensor& tensor = model.tensors[i].second;
    std::vector<std::pair<Shape, Shape>> boxes = {{{}, {}}};
    for (std::size_t dim = 0; dim < tensor.shape().size(); ++dim) {
      const std::int64_t size = tensor.shape()[dim];
      const bool whole = writer.quantizes(i) && dim == 1;
      const auto first = whole ? size : *rc::gen::inRange<std::int64_t>(0, size + 1);
      std::vector<std::pair<Shape, Shape>> longer;
      for (const auto& [begin, extent] : boxes) {
        for (const auto& [from, count] :
             {std::pair<std::int64_t, std::int64_t>{0, first},
              std::pair<std::int64_t, std::int64_t>{first, size - first}}) {
          if (whole && count == 0) continue;
          longer.emplace_back(begin, extent);
          longer.back().first.push_back(from);
          longer.back().second.push_back(count);
        }
      }
      boxes = std::move(longer);
    }
    for (const auto& [begin, extent] : boxes) regions.push_back(box(i, tensor, begin, extent));
  }
  return regions;
}

TEST_F(CheckpointWriterTest, AnyPartsByAnyWritersAreTheSameFiles) {
  const Model source = model();
  WriterOptions options = source.options(folder_ / "parts");
  options.reference = folder_ / "sample";
  options.force = true;
  const auto expected = converted(source, options);
  const bool holds = rc::check("Any parts by any writers are the same files", [&] {
    std::vector<CheckpointWriter> writers;
    for (int i = 0; i < 3; ++i) writers.emplace_back(options);
    writers[0].create();
    std::vector<std::vector<ConstRegion>> dealt(writers.size());
    for (const ConstRegion& region : cut(writers[0], source)) {
      dealt[*rc::gen::inRange<std::size_t>(0, dealt.size())].push_back(region);
    }
    for (std::size_t i = writers.size(); i-- > 0;) {
      writers[i].write(dealt[i], {.threads = *rc::gen::inRange(1, 4), .stop = {}});
      writers[i].sync();
    }
    writers[0].commit();
    RC_ASSERT(contents(options.destination) == expected);
  });
  EXPECT_TRUE(holds);
}

TEST_F(CheckpointWriterTest, MemoryMayHaveGapsBetweenRows) {
  const Model source = model();
  std::vector<ConstRegion> regions = source.whole();
  std::vector<Tensor> wide;
  for (ConstRegion& region : regions) {
    const Tensor& tensor = source.tensors[region.tensor].second;
    if (tensor.shape().size() < 2) continue;
    Shape shape = tensor.shape();
    shape.back() += 5;
    Tensor memory = Tensor::empty(tensor.dtype(), shape);
    const std::size_t line = static_cast<std::size_t>(tensor.shape().back()) * size_of(tensor);
    const std::size_t gap = 5 * size_of(tensor);
    for (std::size_t i = 0; i * line < tensor.byte_count(); ++i) {
      std::copy_n(tensor.data() + i * line, line, memory.data() + i * (line + gap));
    }
    region.data = memory.data();
    region.strides = strides_of(shape);
    wide.push_back(std::move(memory));
  }
  const WriterOptions options = source.options(folder_ / "written");
  write_whole(options, regions);
  EXPECT_EQ(contents(options.destination), converted(source, options));
}

TEST_F(CheckpointWriterTest, NothingIsThereBeforeCommit) {
  const Model source = model();
  const WriterOptions options = source.options(folder_ / "written");
  {
    CheckpointWriter writer(options);
    writer.create();
    writer.write(source.whole());
    for (const auto& entry : fs::directory_iterator(options.destination)) {
      EXPECT_EQ(entry.path().filename(), kStateFolder);
    }
  }
  EXPECT_FALSE(fs::exists(options.destination));
}

TEST_F(CheckpointWriterTest, AnOldCheckpointStaysUntilCommit) {
  const Model source = model();
  WriterOptions options = source.options(folder_ / "written");
  options.max_shard_size = 10'000;
  write_whole(options, source.whole());
  const auto old = contents(options.destination);

  options.max_shard_size = 40'000;
  CheckpointWriter unforced(options);
  EXPECT_ERROR(ErrorCode::destination_exists, unforced.create());
  options.force = true;
  CheckpointWriter writer(options);
  writer.create();
  writer.write(source.whole());
  writer.discard();
  EXPECT_EQ(contents(options.destination), old);

  write_whole(options, source.whole());
  EXPECT_EQ(contents(options.destination), converted(source, options));
}

TEST_F(CheckpointWriterTest, ACommitThatFailsLeavesNothing) {
  const Model source = model();
  const WriterOptions options = source.options(folder_ / "written");
  CheckpointWriter writer(options);
  writer.create();
  writer.write(source.whole());
  // A folder in the way of the config.
  fs::create_directories(options.destination / "config.json" / "full");
  EXPECT_ERROR(ErrorCode::destination_exists, writer.commit());
  writer.discard();
  for (const auto& entry : fs::directory_iterator(options.destination)) {
    EXPECT_EQ(entry.path().filename(), "config.json");
  }
}

TEST_F(CheckpointWriterTest, IsRefusedWhereSomebodyElseIsAtWork) {
  const Model source = model();
  WriterOptions options = source.options(folder_ / "written");
  CheckpointWriter first(options);
  first.create();
  options.force = true;
  CheckpointWriter second(options);
  EXPECT_ERROR(ErrorCode::destination_in_use, second.create());
  ConvertOptions conversion = converting(source.folder, options.destination);
  EXPECT_ERROR(ErrorCode::destination_in_use, convert(conversion));
  first.write(source.whole());
  first.commit();
  EXPECT_ERROR(ErrorCode::invalid_argument, first.commit());
  EXPECT_EQ(contents(options.destination), converted(source, options));
}

// What is left of a conversion is nobody's to build on.
TEST_F(CheckpointWriterTest, AnUnfinishedConversionStaysUnlessForced) {
  const Model source = model();
  WriterOptions options = source.options(folder_ / "written");
  ConvertOptions part = converting(source.folder, options.destination);
  part.part = {.rank = 0, .world = 2};
  part.force = false;
  convert(part);
  CheckpointWriter unforced(options);
  EXPECT_ERROR(ErrorCode::conversion_changed, unforced.create());
  options.force = true;
  write_whole(options, source.whole());
  EXPECT_EQ(contents(options.destination), converted(source, options));
  part.resume = true;
  EXPECT_ERROR(ErrorCode::destination_exists, convert(part));
}

TEST_F(CheckpointWriterTest, TheDigestTellsWhetherRanksAgree) {
  const Model source = model();
  const WriterOptions options = source.options(folder_ / "written");
  const std::string digest = CheckpointWriter(options).digest();
  EXPECT_EQ(CheckpointWriter(options).digest(), digest);
  const auto differs = [&](auto change) {
    WriterOptions other = options;
    change(other);
    return CheckpointWriter(other).digest() != digest;
  };
  EXPECT_TRUE(differs([](WriterOptions& o) { o.quant_mode = QuantMode::even; }));
  EXPECT_TRUE(differs([](WriterOptions& o) { o.allow_nonfinite = true; }));
  EXPECT_TRUE(differs([](WriterOptions& o) { o.dtype = Codec::bf16; }));
  EXPECT_TRUE(differs([](WriterOptions& o) { o.dense_dtype = DType::F32; }));
  EXPECT_TRUE(differs([](WriterOptions& o) { o.config += " "; }));
  EXPECT_TRUE(differs([](WriterOptions& o) { o.max_shard_size *= 2; }));
  EXPECT_TRUE(differs([&](WriterOptions& o) { o.reference = folder_ / "sample"; }));
}

TEST_F(CheckpointWriterTest, AWeightThatMxfp4CannotHoldIsNamed) {
  Model source = model(DType::F32);
  const WriterOptions options = source.options(folder_ / "written");
  for (auto& [name, tensor] : source.tensors) {
    if (name != "model.layers.1.mlp.experts.down_projs") continue;
    // Expert 2, column (in) 5, row (out) 7 of [4, 96, 64].
    tensor.as<float>()[(2 * 96 + 5) * 64 + 7] = std::numeric_limits<float>::quiet_NaN();
  }
  CheckpointWriter writer(options);
  writer.create();
  const auto error = testing::error_of([&] { writer.write(source.whole()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::nonfinite_weight);
  EXPECT_EQ(error->details().tensor, "model.layers.1.mlp.experts.down_projs");
  EXPECT_NE(std::string(error->what()).find("expert 2, row 7, column 5"), std::string::npos)
      << error->what();
}

TEST_F(CheckpointWriterTest, RefusesWhatIsNoModel) {
  const Model source = model();
  const WriterOptions good = source.options(folder_ / "written");
  const auto refused = [&](ErrorCode code, auto&& change) {
    WriterOptions options = good;
    change(options);
    EXPECT_ERROR(code, CheckpointWriter(options));
  };
  const auto without = [](std::string_view ending) {
    return [ending](WriterOptions& o) {
      std::erase_if(o.tensors, [&](const auto& t) { return t.name.ends_with(ending); });
    };
  };
  refused(ErrorCode::missing_tensor, without("layers.1.mlp.experts.down_projs"));
  refused(ErrorCode::missing_tensor, without("sinks"));
  refused(ErrorCode::missing_tensor, without("lm_head.weight"));
  refused(ErrorCode::missing_layer, [](WriterOptions& o) {
    std::erase_if(o.tensors, [](const auto& t) { return t.name.find(".1.") != std::string::npos; });
  });
  refused(ErrorCode::invalid_config, [](WriterOptions& o) { o.config = o.side_files = ""; });
  refused(ErrorCode::wrong_shape, [](WriterOptions& o) {
    for (auto& t : o.tensors) {
      if (t.name.ends_with("experts.down_projs")) std::swap(t.shape[1], t.shape[2]);
    }
  });
  refused(ErrorCode::unsupported, [&](WriterOptions& o) {
    o.dtype = Codec::bf16;
    o.tensors.clear();
    for (auto& [name, tensor] : load_folder(folder_ / "sample")) {
      o.tensors.push_back({name, tensor.dtype(), tensor.shape()});
    }
  });
}

TEST_F(CheckpointWriterTest, RefusesPartsThatDoNotFit) {
  const Model source = model();
  const WriterOptions options = source.options(folder_ / "written");
  CheckpointWriter writer(options);
  EXPECT_ERROR(ErrorCode::io_error, writer.write(source.whole()));  // nothing was created
  writer.create();
  std::size_t experts = 0;
  while (!writer.quantizes(experts)) ++experts;
  const ConstRegion good = source.whole()[experts];
  const auto refused = [&](auto&& change) {
    ConstRegion bad = good;
    change(bad);
    EXPECT_ERROR(ErrorCode::invalid_argument, writer.write({bad}));
  };
  refused([](ConstRegion& r) { r.tensor = 1000; });
  refused([](ConstRegion& r) { r.extent[0] += 1; });
  refused([](ConstRegion& r) { r.extent[1] -= 32; });
  refused([](ConstRegion& r) { r.strides[2] = 2; });
  refused([](ConstRegion& r) { r.data = nullptr; });
}

}  // namespace
}  // namespace mxferry::internal
