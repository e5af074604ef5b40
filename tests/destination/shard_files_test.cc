#include "destination/shard_files.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"

namespace mxferry::internal {
namespace {

Catalog some_tensors() {
  return {{"b.weight", DType::BF16, {2, 3}, 0, 0, 12},
          {"a.weight", DType::F32, {2}, 0, 0, 8},
          {"x.blocks", DType::U8, {1, 2, 1, 16}, 1, 0, 32},
          {"x.scales", DType::U8, {1, 2, 1}, 1, 0, 2}};
}
const std::vector<std::string> kNames = {"one.safetensors", "two.safetensors"};

TEST(ShardName, IsThatOfTransformers) {
  EXPECT_EQ(shard_name(0, 1), "model.safetensors");
  EXPECT_EQ(shard_name(0, 2), "model-00001-of-00002.safetensors");
  EXPECT_EQ(shard_name(14, 15), "model-00015-of-00015.safetensors");
  EXPECT_EQ(shard_name(123455, 123456), "model-123456-of-123456.safetensors");
}

TEST(LayOut, PlacesEveryTensorInItsShard) {
  Catalog catalog = some_tensors();
  const OutputLayout layout = lay_out(catalog, kNames);
  ASSERT_EQ(layout.files.size(), 2U);
  for (std::size_t shard = 0; shard < 2; ++shard) {
    const OutputFile& file = layout.files[shard];
    EXPECT_EQ(file.path, kNames[shard]);
    EXPECT_EQ(layout.shards[shard].file, kNames[shard]);
    EXPECT_EQ(layout.shards[shard].bytes, file.size);
    const SafetensorsHeader header = parse_safetensors_header(file.header.substr(8), kNames[shard]);
    EXPECT_EQ(file.size, file_size(header));
    EXPECT_EQ(header.metadata.at("format"), "pt");
    ASSERT_EQ(header.tensors.size(), 2U);
    for (const TensorInfo& tensor : header.tensors) {
      const auto stored = std::ranges::find(catalog, tensor.name, &StoredTensor::name);
      ASSERT_NE(stored, catalog.end());
      EXPECT_EQ(stored->shard, shard);
      EXPECT_EQ(stored->offset, header.data_offset + tensor.begin);
      EXPECT_EQ(stored->byte_count, tensor.end - tensor.begin);
      EXPECT_EQ(stored->shape, tensor.shape);
    }
  }
}

TEST(IndexText, ListsEveryTensorAndTheirBytes) {
  const ShardIndex index = parse_shard_index(index_text(some_tensors(), kNames), kIndexName);
  EXPECT_EQ(index.total_size, 12U + 8 + 32 + 2);
  EXPECT_EQ(index.weight_map, (std::map<std::string, std::string>{{"a.weight", kNames[0]},
                                                                  {"b.weight", kNames[0]},
                                                                  {"x.blocks", kNames[1]},
                                                                  {"x.scales", kNames[1]}}));
}

TEST(DtypesText, IsOpenAis) {
  EXPECT_EQ(
      nlohmann::json::parse(dtypes_text(some_tensors())),
      (nlohmann::json{
          {"a.weight", "F32"}, {"b.weight", "BF16"}, {"x.blocks", "FP4"}, {"x.scales", "UE8"}}));
}

TEST(WeightsName, IsThatOfAShardOrOfARank) {
  EXPECT_EQ(rank_file_name(11), "shard-00012-model-00001-of-00001.safetensors");
  for (const char* name : {"shard-00012-model-00001-of-00001.safetensors", "model.safetensors",
                           "shard-00012-model-00001-of-00001.safetensors.partial",
                           "model-1-of-2.safetensors.partial"}) {
    EXPECT_TRUE(is_weights_name(name)) << name;
  }
  for (const char* name : {"shard-00012.safetensors", "other.safetensors", "model.bin", "model",
                           "model.safetensors.index.json", ".partial"}) {
    EXPECT_FALSE(is_weights_name(name)) << name;
  }
}

}  // namespace
}  // namespace mxferry::internal
