#include "mxferry/checkpoint_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "mxferry/convert.h"
#include "mxferry/safetensors.h"
#include "mxferry/sample.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

// The tiny sample: 4 experts, hidden 64, intermediate 96.
class CheckpointReaderTest : public ::testing::Test {
 protected:
  std::string sample(Layout layout, std::optional<Codec> dtype) const {
    SampleOptions options;
    options.destination = folder_ / (std::string(name(layout)) + (dtype ? "_dense" : "_packed"));
    options.to = layout;
    options.dtype = dtype;
    write_sample(options);
    return options.destination;
  }

  // What a conversion with the same options writes.
  StateDict converted(const ReaderOptions& reader) const {
    ConvertOptions options;
    options.source = reader.source;
    options.destination = folder_ / "converted";
    options.to = reader.layout;
    options.dtype = reader.dtype;
    options.sync = false;
    options.force = true;
    convert(options);
    return load_safetensors(options.destination / "model.safetensors");
  }

  testing::TempFolder folder_;
};

std::size_t index_of(const CheckpointReader& reader, const std::string& name) {
  const auto found = std::ranges::find(reader.tensors(), name, &ReadableTensor::name);
  EXPECT_NE(found, reader.tensors().end()) << name;
  return static_cast<std::size_t>(found - reader.tensors().begin());
}

std::vector<std::int64_t> strides_of(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

Region whole(const CheckpointReader& reader, std::size_t tensor, Tensor& memory) {
  const Shape& shape = reader.tensors()[tensor].shape;
  return {.tensor = tensor,
          .begin = Shape(shape.size(), 0),
          .extent = shape,
          .data = memory.data(),
          .strides = strides_of(shape),
          .dtype = memory.dtype()};
}

TEST_F(CheckpointReaderTest, ReadsWhatAConversionWrites) {
  const std::vector<std::string> sources = {
      sample(Layout::hf, {}),       sample(Layout::hf, Codec::bf16),
      sample(Layout::original, {}), sample(Layout::nemo, Codec::bf16),
      sample(Layout::mlx, {}),      sample(Layout::compressed_tensors, {})};
  for (const std::string& source : sources) {
    for (const Layout layout :
         {Layout::nemo, Layout::hf, Layout::original, Layout::torchtitan, Layout::unsloth}) {
      for (const std::optional<Codec> dtype : {std::optional<Codec>(), std::optional(Codec::f32)}) {
        const ReaderOptions options{.source = source, .layout = layout, .dtype = dtype};
        const StateDict expected = converted(options);
        const CheckpointReader reader(options);
        ASSERT_EQ(reader.tensors().size(), expected.size());
        std::vector<Tensor> tensors;
        std::vector<Region> regions;
        for (std::size_t i = 0; i < expected.size(); ++i) {
          const ReadableTensor& tensor = reader.tensors()[i];
          tensors.push_back(Tensor::empty(tensor.dtype, tensor.shape));
          regions.push_back(whole(reader, i, tensors.back()));
        }
        EXPECT_GT(reader.read(regions), 0U);
        for (std::size_t i = 0; i < tensors.size(); ++i) {
          const Tensor& wanted = expected.at(reader.tensors()[i].name);
          ASSERT_EQ(tensors[i].shape(), wanted.shape());
          ASSERT_EQ(tensors[i].dtype(), wanted.dtype());
          EXPECT_EQ(std::memcmp(tensors[i].data(), wanted.data(), wanted.byte_count()), 0)
              << source << " as " << name(layout) << ": " << reader.tensors()[i].name;
        }
      }
    }
  }
}

TEST_F(CheckpointReaderTest, RefusesALayoutWithGateAndUpApart) {
  const std::string source = sample(Layout::hf, Codec::bf16);
  for (const Layout layout : {Layout::mlx, Layout::compressed_tensors}) {
    EXPECT_ERROR(ErrorCode::unsupported, CheckpointReader({.source = source, .layout = layout}));
  }
}

TEST_F(CheckpointReaderTest, PackedTensorsCanBeReadAsTheyAre) {
  const ReaderOptions options{
      .source = sample(Layout::original, {}), .layout = Layout::hf, .dtype = Codec::mxfp4};
  const StateDict expected = converted(options);
  const CheckpointReader reader(options);
  const std::size_t blocks = index_of(reader, "model.layers.1.mlp.experts.down_proj_blocks");
  const Tensor& wanted = expected.at(reader.tensors()[blocks].name);
  Tensor tensor = Tensor::empty(DType::U8, wanted.shape());
  EXPECT_EQ(reader.read({whole(reader, blocks, tensor)}), wanted.byte_count());
  EXPECT_EQ(std::memcmp(tensor.data(), wanted.data(), wanted.byte_count()), 0);
}

TEST_F(CheckpointReaderTest, ABoxMayRunThroughPartsOfAFusedTensor) {
  const ReaderOptions options{.source = sample(Layout::hf, Codec::bf16),
                              .layout = Layout::original};
  const StateDict expected = converted(options);
  const CheckpointReader reader(options);
  const std::size_t fused = index_of(reader, "block.0.attn.qkv.weight");
  const Tensor& wanted = expected.at("block.0.attn.qkv.weight");
  const std::int64_t rows = wanted.shape()[0] - 2;
  const std::int64_t columns = wanted.shape()[1];
  Tensor tensor = Tensor::empty(DType::BF16, {rows, 5});
  reader.read({{.tensor = fused,
                .begin = {1, 3},
                .extent = {rows, 5},
                .data = tensor.data(),
                .strides = {5, 1},
                .dtype = DType::BF16}});
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < 5; ++column) {
      ASSERT_EQ(tensor.as<std::uint16_t>()[row * 5 + column],
                wanted.as<std::uint16_t>()[(row + 1) * columns + column + 3]);
    }
  }
}

TEST_F(CheckpointReaderTest, RefusesWhatCannotBeRead) {
  const CheckpointReader reader({.source = sample(Layout::hf, {})});
  const std::size_t norm = index_of(reader, "model.norm.weight");
  Tensor memory = Tensor::empty(DType::BF16, {64});
  const Region good = whole(reader, norm, memory);
  reader.read({good});
  const auto code_of = [&](auto&& change) {
    Region bad = good;
    change(bad);
    const auto error = testing::error_of([&] { reader.read({bad}); });
    return error ? std::optional(error->code()) : std::nullopt;
  };
  EXPECT_EQ(code_of([](Region& r) { r.tensor = 1000; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([](Region& r) { r.begin = {1}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([](Region& r) { r.begin = {-1}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([](Region& r) { r.extent = {64, 1}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([](Region& r) { r.strides = {2}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([](Region& r) { r.data += 1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([](Region& r) { r.data = nullptr; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([](Region& r) { r.dtype = DType::I64; }), ErrorCode::unsupported);
}

TEST_F(CheckpointReaderTest, DoesNotQuantize) {
  const ReaderOptions options{
      .source = sample(Layout::hf, Codec::bf16), .layout = Layout::hf, .dtype = Codec::mxfp4};
  EXPECT_ERROR(ErrorCode::unsupported, CheckpointReader(options));
}

TEST_F(CheckpointReaderTest, ReportsProgressInBytesOfMemory) {
  const CheckpointReader reader({.source = sample(Layout::hf, {})});
  const std::size_t down = index_of(reader, "model.layers.0.mlp.experts.down_projs");
  Tensor memory = Tensor::empty(DType::BF16, reader.tensors()[down].shape);
  ConvertProgress last;
  reader.read({whole(reader, down, memory)},
              {.threads = 1, .progress = [&](const ConvertProgress& now) { last = now; }});
  EXPECT_EQ(last.bytes_done, memory.byte_count());
  EXPECT_EQ(last.bytes_total, memory.byte_count());
}

}  // namespace
}  // namespace mxferry::internal
