#include "flow/sink.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "flow/source.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

using testing::content_of;
using testing::TempFolder;

// Two shards: "one" holds a and b behind 4 bytes of header, "two" holds c behind 2.
class FileSinkTest : public ::testing::TestWithParam<bool> {
 protected:
  std::vector<OutputFile> files() const {
    return {{folder_ / "one", "HEAD", 9}, {folder_ / "two", "hd", 5}};
  }
  static void write(Sink& sink, std::size_t tensor, std::uint64_t offset, const std::string& text) {
    sink.write(tensor, offset, std::as_bytes(std::span(text)));
  }
  std::size_t file_count() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_.path()),
                      std::filesystem::directory_iterator()));
  }

  TempFolder folder_;
  const Catalog catalog_ = {{"a", DType::U8, {3}, 0, 4, 3},
                            {"b", DType::U8, {2}, 0, 7, 2},
                            {"c", DType::U8, {3}, 1, 2, 3}};
};

TEST_P(FileSinkTest, GivesAShardItsNameWhenItIsFinished) {
  FileSink sink(catalog_, files(), {.sync = GetParam()});
  EXPECT_EQ(file_count(), 0U);
  write(sink, 1, 0, "45");
  write(sink, 0, 1, "23");
  write(sink, 2, 0, "xyz");
  write(sink, 0, 0, "1");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "one"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "one.partial"));
  sink.finish_shard(0);
  EXPECT_EQ(content_of(folder_ / "one"), "HEAD12345");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "one.partial"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "two"));
  sink.finish_shard(1);
  EXPECT_EQ(content_of(folder_ / "two"), "hdxyz");
  EXPECT_EQ(file_count(), 2U);
}

TEST_P(FileSinkTest, RemovesWhatIsNotFinished) {
  {
    FileSink sink(catalog_, files(), {.sync = GetParam()});
    for (std::size_t tensor = 0; tensor < 3; ++tensor) write(sink, tensor, 0, "x");
    sink.finish_shard(1);
    EXPECT_EQ(file_count(), 2U);
  }
  EXPECT_EQ(file_count(), 1U);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "two"));
}

TEST_P(FileSinkTest, WritesAShardWithoutDataWhenItIsFinished) {
  FileSink sink(catalog_, {{folder_ / "one", "HEAD", 4}}, {.sync = GetParam()});
  sink.finish_shard(0);
  EXPECT_EQ(content_of(folder_ / "one"), "HEAD");
}

TEST_P(FileSinkTest, SaysWhichFileItCannotWrite) {
  FileSink sink(catalog_, {{folder_ / "gone/one", "HEAD", 9}}, {.sync = GetParam()});
  for (int i = 0; i < 2; ++i) {
    const auto error = testing::error_of([&] { write(sink, 0, 0, "1"); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::io_error);
    EXPECT_NE(std::string(error->what()).find("gone/one"), std::string::npos);
  }
}

TEST_P(FileSinkTest, TellsTheDigestOfWhatItAloneHasWritten) {
  std::vector<OutputFile> output = files();
  output[1].shared = folder_ / "shared";
  output[1].borders = folder_ / "borders";
  std::map<std::size_t, std::string> digests;
  FileSink sink(catalog_, output,
                {.sync = GetParam(),
                 .digests = true,
                 .on_finished = [&](std::size_t shard, const std::string& sha256) {
                   digests[shard] = sha256;
                 }});
  write(sink, 1, 0, "45");
  write(sink, 0, 0, "123");
  write(sink, 2, 0, "xyz");
  sink.finish_shard(0);
  sink.finish_shard(1);
  const std::string one = "HEAD12345";
  EXPECT_EQ(digests, (std::map<std::size_t, std::string>{
                         {0, sha256_of(std::as_bytes(std::span(one)))}, {1, ""}}));
}

INSTANTIATE_TEST_SUITE_P(Sync, FileSinkTest, ::testing::Bool());

TEST(FileSource, ReadsTensorsWhereTheyLie) {
  const TempFolder folder;
  folder.write("one", "HEAD12345");
  folder.write("two", "hdxyz");
  const Catalog catalog = {{"a", DType::U8, {3}, 0, 4, 3}, {"c", DType::U8, {3}, 1, 2, 3}};
  std::vector<File> files;
  for (const char* name : {"one", "two"}) files.push_back(File::open_for_reading(folder / name));
  const FileSource source(catalog, std::move(files));
  std::string text(2, ' ');
  source.read(0, 1, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(text, "23");
  source.read(1, 0, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(text, "xy");
  EXPECT_ERROR(ErrorCode::file_size_mismatch,
               source.read(1, 2, std::as_writable_bytes(std::span(text))));
}

}  // namespace
}  // namespace mxferry::internal
