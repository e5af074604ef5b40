#include "checkpoint/folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/shard_index.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/headers.h"

namespace mxferry::internal::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A file of tensors of three bytes each.
std::string shard(const std::vector<std::string>& names,
                  std::map<std::string, std::string> metadata = {}) {
  std::vector<TensorInfo> tensors;
  for (const std::string& name : names) {
    tensors.push_back({.name = name, .dtype = DType::U8, .shape = {3}});
  }
  const NewHeader start = make_safetensors_header(std::move(tensors), std::move(metadata));
  return start.bytes + std::string(start.header.data_size, '\0');
}

std::string index_of(std::map<std::string, std::string> weight_map, std::uint64_t total_size) {
  return serialize_shard_index({.weight_map = std::move(weight_map), .total_size = total_size});
}

std::vector<std::string> tensor_names(const Folder& folder) {
  std::vector<std::string> names;
  for (const FolderTensor& tensor : folder.tensors) names.push_back(tensor.info.name);
  return names;
}

auto problem(Severity severity, ErrorCode code, const std::string& file, const std::string& text) {
  return AllOf(Field("severity", &Problem::severity, severity), Field("code", &Problem::code, code),
               Field("file", &Problem::file, file), Field("text", &Problem::text, HasSubstr(text)));
}
auto fatal(ErrorCode code, const std::string& file, const std::string& text) {
  return problem(Severity::fatal, code, file, text);
}
auto warning(ErrorCode code, const std::string& file, const std::string& text) {
  return problem(Severity::warning, code, file, text);
}
auto note(ErrorCode code, const std::string& file, const std::string& text) {
  return problem(Severity::note, code, file, text);
}

// Two shards and their index, all in order.
class TwoShards : public ::testing::Test {
 protected:
  TwoShards() {
    folder_.write("m-1.safetensors", shard({"b", "d"}));
    folder_.write("m-2.safetensors", shard({"a", "c"}));
    write_index(12);
  }
  void write_index(std::uint64_t total_size) {
    folder_.write(kIndexName, index_of({{"a", "m-2.safetensors"},
                                        {"b", "m-1.safetensors"},
                                        {"c", "m-2.safetensors"},
                                        {"d", "m-1.safetensors"}},
                                       total_size));
  }
  Folder open() const { return open_folder(folder_.path()); }

  TempFolder folder_;
};

TEST_F(TwoShards, AreReadInOrder) {
  const Folder folder = open();
  EXPECT_TRUE(folder.has_index);
  EXPECT_THAT(folder.problems, IsEmpty());
  EXPECT_THAT(folder.missing, IsEmpty());
  EXPECT_EQ(folder.path, folder_.path());
  ASSERT_THAT(folder.shards, SizeIs(2));
  EXPECT_EQ(folder.shards[0].name, "m-1.safetensors");
  EXPECT_EQ(folder.shards[1].path, folder_ / "m-2.safetensors");
  EXPECT_THAT(tensor_names(folder), ElementsAre("a", "b", "c", "d"));
  EXPECT_EQ(folder.tensors[0].shard, 1u);
  EXPECT_EQ(folder.tensors[1].shard, 0u);
  EXPECT_EQ(folder.tensors[2].info.begin, 3u);
}

TEST_F(TwoShards, MayLieInASubfolder) {
  fs::create_directory(folder_ / "sub");
  fs::rename(folder_ / "m-1.safetensors", folder_ / "sub/m-1.safetensors");
  folder_.write(kIndexName, index_of({{"a", "m-2.safetensors"},
                                      {"b", "sub/m-1.safetensors"},
                                      {"c", "m-2.safetensors"},
                                      {"d", "sub/m-1.safetensors"}},
                                     12));
  EXPECT_THAT(open().problems, IsEmpty());
  EXPECT_THAT(tensor_names(open()), ElementsAre("a", "b", "c", "d"));
}

TEST_F(TwoShards, WithAnEntryThatItsFileDoesNotHold) {
  folder_.write("m-2.safetensors", shard({"c"}));
  const Folder folder = open();
  EXPECT_THAT(folder.problems, IsEmpty());
  EXPECT_THAT(tensor_names(folder), ElementsAre("b", "c", "d"));
  ASSERT_THAT(folder.missing, SizeIs(1));
  EXPECT_EQ(folder.missing[0].tensor, "a");
  EXPECT_EQ(folder.missing[0].file, "m-2.safetensors");
  EXPECT_TRUE(folder.missing[0].file_exists);
}

TEST_F(TwoShards, WithAMissingFile) {
  fs::remove(folder_ / "m-1.safetensors");
  const Folder folder = open();
  EXPECT_THAT(folder.problems, IsEmpty());
  ASSERT_THAT(folder.missing, SizeIs(2));
  EXPECT_EQ(folder.missing[0].tensor, "b");
  EXPECT_EQ(folder.missing[1].tensor, "d");
  EXPECT_FALSE(folder.missing[1].file_exists);
}

TEST_F(TwoShards, WithATensorInAnotherFileThanTheIndexSays) {
  folder_.write("m-1.safetensors", shard({"a", "b", "d"}));
  folder_.write("m-2.safetensors", shard({"c"}));
  const Folder folder = open();
  EXPECT_THAT(tensor_names(folder), ElementsAre("b", "c", "d"));
  EXPECT_THAT(folder.missing, SizeIs(1));
  EXPECT_THAT(folder.problems, ElementsAre(warning(ErrorCode::invalid_index, "m-1.safetensors",
                                                   "found 1 tensor: a")));
}

TEST_F(TwoShards, WithTensorsThatTheIndexDoesNotList) {
  folder_.write("m-1.safetensors", shard({"b", "d", "x1", "x2", "x3", "x4"}));
  EXPECT_THAT(open().problems, ElementsAre(note(ErrorCode::invalid_index, "m-1.safetensors",
                                                "found 4 tensors: x1, x2, x3, ...")));
  EXPECT_THAT(tensor_names(open()), ElementsAre("a", "b", "c", "d", "x1", "x2", "x3", "x4"));
  folder_.write("m-2.safetensors", shard({"a", "c", "x2"}));
  EXPECT_THAT(open().problems,
              Contains(fatal(ErrorCode::name_collision, "m-2.safetensors", "found 1 tensor: x2")));
}

TEST_F(TwoShards, WithAFileThatTheIndexDoesNotMention) {
  folder_.write("model.safetensors", "not even a safetensors file");
  EXPECT_THAT(open().problems, ElementsAre(warning(ErrorCode::invalid_index, "model.safetensors",
                                                   "does not mention this file")));
}

TEST_F(TwoShards, WithAWrongTotalSize) {
  write_index(13);
  EXPECT_THAT(open().problems,
              ElementsAre(warning(ErrorCode::invalid_index, kIndexName, "expected 12, found 13")));
}

TEST_F(TwoShards, WithPartialAndHiddenFiles) {
  folder_.write("m-3.safetensors.partial", "half");
  folder_.write("._m-1.safetensors", "what a Macintosh leaves");
  folder_.write("config.json", "{}");
  EXPECT_THAT(open().problems, IsEmpty());
}

TEST_F(TwoShards, WithABrokenIndex) {
  folder_.write(kIndexName, "{");
  const Folder folder = open();
  EXPECT_TRUE(folder.has_index);
  EXPECT_THAT(folder.problems,
              ElementsAre(fatal(ErrorCode::invalid_index, kIndexName, "not valid JSON")));
}

TEST_F(TwoShards, WithAnIndexThatLeavesTheFolder) {
  folder_.write(kIndexName, index_of({{"a", "../m-2.safetensors"}}, 3));
  EXPECT_THAT(open().problems,
              ElementsAre(fatal(ErrorCode::invalid_index, kIndexName, "not one of this folder")));
}

TEST_F(TwoShards, WithAnIndexThatIsAGitLfsPointer) {
  folder_.write(kIndexName, "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT(open().problems,
              ElementsAre(fatal(ErrorCode::git_lfs_pointer, kIndexName, "git lfs pull")));
}

TEST_F(TwoShards, WithOneThatIsCutShort) {
  fs::resize_file(folder_ / "m-1.safetensors", fs::file_size(folder_ / "m-1.safetensors") - 1);
  const Folder folder = open();
  EXPECT_THAT(folder.problems,
              ElementsAre(fatal(ErrorCode::incomplete_download, "m-1.safetensors", "cut short")));
  EXPECT_THAT(folder.shards, SizeIs(1));
  EXPECT_THAT(tensor_names(folder), ElementsAre("a", "c"));
  EXPECT_THAT(folder.missing, IsEmpty());
}

TEST_F(TwoShards, WithOneThatIsTooLong) {
  folder_.write("m-1.safetensors", shard({"b", "d"}) + "x");
  EXPECT_THAT(open().problems, ElementsAre(fatal(ErrorCode::file_size_mismatch, "m-1.safetensors",
                                                 "goes on after its last tensor")));
}

TEST_F(TwoShards, GiveAllTheirProblemsAtOnce) {
  folder_.write("m-1.safetensors", "");
  folder_.write("m-2.safetensors", file_bytes(R"({"a":["U8",[2],[0,3]]})", 3));
  EXPECT_THAT(
      open().problems,
      ElementsAre(fatal(ErrorCode::header_too_small, "m-1.safetensors", "too small"),
                  AllOf(fatal(ErrorCode::tensor_size_mismatch, "m-2.safetensors", "do not fit"),
                        Field("tensor", &Problem::tensor, "a"))));
}

TEST_F(TwoShards, WithAGitLfsPointer) {
  folder_.write("m-1.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n");
  EXPECT_THAT(open().problems,
              ElementsAre(fatal(ErrorCode::git_lfs_pointer, "m-1.safetensors", "git lfs pull")));
}

TEST_F(TwoShards, WithAnUnfinishedDownload) {
  fs::remove(folder_ / "m-1.safetensors");
  folder_.write(".cache/huggingface/download/m-1.safetensors.0123.incomplete", "half");
  EXPECT_THAT(open().problems,
              ElementsAre(fatal(ErrorCode::incomplete_download,
                                ".cache/huggingface/download/m-1.safetensors.0123.incomplete",
                                "not finished")));
}

TEST_F(TwoShards, WithAnUnfinishedDownloadBesideThem) {
  fs::remove(folder_ / "m-1.safetensors");
  folder_.write("m-1.safetensors.incomplete", "half");
  EXPECT_THAT(open().problems, ElementsAre(fatal(ErrorCode::incomplete_download,
                                                 "m-1.safetensors.incomplete", "not finished")));
}

TEST_F(TwoShards, WithAnUnfinishedDownloadOfSomethingElse) {
  folder_.write(".cache/huggingface/download/tokenizer.json.0123.incomplete", "half");
  EXPECT_THAT(open().problems,
              ElementsAre(warning(ErrorCode::incomplete_download,
                                  ".cache/huggingface/download/tokenizer.json.0123.incomplete",
                                  "not finished")));
}

TEST_F(TwoShards, WithOneThatIsAFifo) {
  fs::remove(folder_ / "m-1.safetensors");
  ASSERT_EQ(::mkfifo((folder_ / "m-1.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(open().problems, ElementsAre(fatal(ErrorCode::not_a_checkpoint, "m-1.safetensors",
                                                 "not a regular file")));
}

TEST_F(TwoShards, WithOneThatIsAFolder) {
  fs::remove(folder_ / "m-1.safetensors");
  fs::create_directory(folder_ / "m-1.safetensors");
  EXPECT_THAT(open().problems, ElementsAre(fatal(ErrorCode::not_a_checkpoint, "m-1.safetensors",
                                                 "not a regular file")));
}

TEST_F(TwoShards, WithALinkToADevice) {
  fs::remove(folder_ / "m-1.safetensors");
  fs::create_symlink("/dev/zero", folder_ / "m-1.safetensors");
  EXPECT_THAT(open().problems, ElementsAre(fatal(ErrorCode::not_a_checkpoint, "m-1.safetensors",
                                                 "leaves the folder")));
}

TEST_F(TwoShards, WithALinkThatLeavesTheFolder) {
  const TempFolder other;
  fs::rename(folder_ / "m-1.safetensors", other / "m-1.safetensors");
  fs::create_symlink(other / "m-1.safetensors", folder_ / "m-1.safetensors");
  EXPECT_THAT(open().problems, ElementsAre(fatal(ErrorCode::not_a_checkpoint, "m-1.safetensors",
                                                 "leaves the folder")));
}

TEST_F(TwoShards, WithALinkWithinTheFolder) {
  fs::create_directory(folder_ / "real");
  fs::rename(folder_ / "m-1.safetensors", folder_ / "real/1");
  fs::create_symlink("real/1", folder_ / "m-1.safetensors");
  const Folder folder = open();
  EXPECT_THAT(folder.problems, IsEmpty());
  EXPECT_EQ(folder.shards.at(0).path, folder_ / "real/1");
}

TEST_F(TwoShards, WithALinkToNothing) {
  fs::remove(folder_ / "m-1.safetensors");
  fs::create_symlink("nothing", folder_ / "m-1.safetensors");
  EXPECT_THAT(open().missing, SizeIs(2));
}

TEST_F(TwoShards, ThroughALinkToTheFolder) {
  const TempFolder other;
  fs::create_symlink(folder_.path(), other / "link");
  EXPECT_THAT(open_folder(other / "link").problems, IsEmpty());
}

TEST_F(TwoShards, WithoutIndexAreAWarning) {
  fs::remove(folder_ / kIndexName);
  const Folder folder = open();
  EXPECT_FALSE(folder.has_index);
  EXPECT_THAT(folder.problems,
              ElementsAre(warning(ErrorCode::invalid_index, "", "several files without")));
  EXPECT_THAT(tensor_names(folder), ElementsAre("a", "b", "c", "d"));
}

TEST_F(TwoShards, WithoutIndexMayNotShareNames) {
  fs::remove(folder_ / kIndexName);
  folder_.write("m-2.safetensors", shard({"a", "b", "d"}));
  const Folder folder = open();
  EXPECT_THAT(folder.problems, Contains(fatal(ErrorCode::name_collision, "m-2.safetensors",
                                              "also in m-1.safetensors; found 2 tensors: b, d")));
  EXPECT_THAT(tensor_names(folder), ElementsAre("a", "b", "d"));
}

TEST(OpenFolder, NeedsNoIndexForASingleFile) {
  const TempFolder folder;
  folder.write("model.safetensors", shard({"b", "a"}));
  const Folder opened = open_folder(folder.path());
  EXPECT_FALSE(opened.has_index);
  EXPECT_THAT(opened.problems, IsEmpty());
  EXPECT_THAT(tensor_names(opened), ElementsAre("a", "b"));
}

TEST(OpenFolder, RefusesALinkToNothing) {
  const TempFolder folder;
  fs::create_symlink("nothing", folder / "model.safetensors");
  fs::create_symlink("loop.safetensors", folder / "loop.safetensors");
  EXPECT_THAT(
      open_folder(folder.path()).problems,
      ElementsAre(fatal(ErrorCode::missing_shard, "loop.safetensors", "cannot be followed"),
                  fatal(ErrorCode::missing_shard, "model.safetensors", "cannot be followed"),
                  warning(ErrorCode::invalid_index, "", "several files")));
}

TEST(OpenFolder, LeavesOutAnAdapterBesideTheModel) {
  const TempFolder folder;
  folder.write("model.safetensors", shard({"a"}));
  folder.write("adapter_model.safetensors", shard({"a"}));
  const Folder opened = open_folder(folder.path());
  EXPECT_THAT(opened.problems,
              ElementsAre(warning(ErrorCode::lora_adapter, "adapter_model.safetensors", "beside")));
  EXPECT_THAT(opened.shards, SizeIs(1));
}

TEST(OpenFolder, RefusesAnAdapterAlone) {
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json"}) {
    const TempFolder folder;
    folder.write(name, "");
    EXPECT_THAT(open_folder(folder.path()).problems,
                ElementsAre(fatal(ErrorCode::lora_adapter, "", "Merge it")))
        << name;
  }
}

TEST(OpenFolder, RefusesAnEmptyFolder) {
  const TempFolder folder;
  EXPECT_THAT(open_folder(folder.path()).problems,
              ElementsAre(fatal(ErrorCode::not_a_checkpoint, "", "no safetensors files")));
}

TEST(OpenFolder, SaysWhatIsThereInstead) {
  const TempFolder folder;
  folder.write("pytorch_model-00001-of-00002.bin", "");
  folder.write("gpt-oss-20b.gguf", "");
  folder.write("original/model.safetensors", shard({"a"}));
  folder.write("metal/model.bin", "");
  folder.write("docs/readme", "");
  EXPECT_THAT(open_folder(folder.path()).problems,
              ElementsAre(fatal(ErrorCode::not_a_checkpoint, "",
                                "found gpt-oss-20b.gguf, metal/ with weights, original/ with "
                                "weights, pytorch_model-00001-of-00002.bin")));
}

TEST(OpenFolder, RefusesADownloadOfWhichNothingIsThere) {
  const TempFolder folder;
  folder.write(".cache/huggingface/download/6f3a.0123.incomplete", "half");
  EXPECT_THAT(open_folder(folder.path()).problems,
              ElementsAre(fatal(ErrorCode::not_a_checkpoint, "", "no safetensors"),
                          fatal(ErrorCode::incomplete_download,
                                ".cache/huggingface/download/6f3a.0123.incomplete", "")));
}

TEST(OpenFolder, ShowsHostileNamesEscaped) {
  const TempFolder folder;
  folder.write("a\x1b[31m\xFF.safetensors", "");
  EXPECT_THAT(open_folder(folder.path()).problems,
              ElementsAre(fatal(ErrorCode::header_too_small, "a\\x1b[31m\\xff.safetensors", "")));
}

TEST(OpenFolder, ThrowsWhereThereIsNoFolder) {
  const TempFolder folder;
  const fs::path file = folder.write("model.safetensors", shard({"a"}));
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, open_folder(folder / "none"));
  const auto error = error_of([&] { open_folder(file); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::not_a_checkpoint);
  EXPECT_THAT(error->what(), HasSubstr("Give the folder"));
}

}  // namespace
}  // namespace mxferry::internal::testing
