#include "verbs/output.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

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

TEST(OutputFolder, GoesWithWhatItHoldsUnlessCommitted) {
  const TempFolder parent;
  for (const char* name : {"new", "slash/"}) {
    {
      OutputFolder folder(parent / name);
      parent.write(std::string(name) + "/a", "text");
      EXPECT_EQ(folder.add("a"), parent / name / "a");
      folder.add("never written");
    }
    EXPECT_FALSE(fs::exists(parent / name)) << name;
  }
}

TEST(OutputFolder, LeavesWhatWasThere) {
  const TempFolder folder;
  folder.write("mine.txt", "text");
  folder.write("model-00001-of-00001.safetensors", "old");
  {
    OutputFolder output(folder.path());
    folder.write("new", "text");
    output.add("new");
  }
  EXPECT_TRUE(fs::exists(folder / "mine.txt"));
  EXPECT_TRUE(fs::exists(folder / "model-00001-of-00001.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "new"));
}

TEST(OutputFolder, TakesAwayTheOldIndexFirstAndTheOldShardsLast) {
  const TempFolder folder;
  const std::string shard = "model-00002-of-00002.safetensors";
  for (const std::string name : {kIndexName, "model.safetensors", shard.c_str(), "mine.txt",
                                 "model-00001-of-00001.safetensors", "other.safetensors"}) {
    folder.write(name, "old");
  }
  OutputFolder output(folder.path());
  EXPECT_FALSE(fs::exists(folder / kIndexName));
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  EXPECT_TRUE(fs::exists(folder / shard));
  folder.write("model-00001-of-00001.safetensors", "new");
  output.add("model-00001-of-00001.safetensors");
  output.commit();
  EXPECT_FALSE(fs::exists(folder / shard));
  EXPECT_TRUE(fs::exists(folder / "model-00001-of-00001.safetensors"));
  EXPECT_TRUE(fs::exists(folder / "mine.txt"));
  EXPECT_TRUE(fs::exists(folder / "other.safetensors"));
}

TEST(OutputFolder, SaysWhatItCannotCreate) {
  const TempFolder folder;
  folder.write("file", "text");
  EXPECT_ERROR(ErrorCode::io_error, OutputFolder(folder / "file/inside"));
}

TEST(Destination, IsAFolderOtherThanTheSource) {
  const TempFolder folder;
  folder.write("full/a", "text");
  fs::create_directory(folder / "empty");
  fs::create_symlink("full", folder / "link");
  const fs::path source = folder / "source";
  fs::create_directory(source);
  for (const char* name : {"new", "new/deep", "empty"}) {
    EXPECT_FALSE(is_occupied(folder / name)) << name;
    EXPECT_NO_THROW(check_destination(folder / name, source)) << name;
  }
  EXPECT_TRUE(is_occupied(folder / "full"));
  EXPECT_NO_THROW(check_destination(folder / "full", source));
  EXPECT_TRUE(is_occupied(folder / "full/a"));
  EXPECT_ERROR(ErrorCode::invalid_argument, check_destination(folder / "full/a", source));
  EXPECT_ERROR(ErrorCode::invalid_argument, check_destination(source, source));
  EXPECT_ERROR(ErrorCode::invalid_argument, check_destination(folder / "link", folder / "full"));
  EXPECT_ERROR(ErrorCode::invalid_argument, check_destination("", source));
}

TEST(FreeBytes, AreThoseOfTheNearestParent) {
  const TempFolder folder;
  EXPECT_GT(free_bytes(folder / "not/yet/there"), 0U);
  EXPECT_GT(free_bytes("relative"), 0U);
}

}  // namespace
}  // namespace mxferry
