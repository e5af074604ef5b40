#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <string>

#include "checkpoint/safetensors_header.h"
#include "mxferry/safetensors.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/headers.h"

namespace mxferry::internal::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kSixBytes = R"({"a":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]}})";

TEST(ReadHeader, ReadsAFile) {
  const TempFolder folder;
  const SafetensorsHeader header =
      read_safetensors_header(folder.write("a.safetensors", file_bytes(kSixBytes, 6)));
  EXPECT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.data_size, 6u);
}

TEST(ReadHeader, RefusesAFileBelowEightBytes) {
  const TempFolder folder;
  for (const std::size_t size : {0, 1, 7}) {
    EXPECT_ERROR(ErrorCode::header_too_small,
                 read_safetensors_header(folder.write("a", std::string(size, '\0'))))
        << size;
  }
}

TEST(ReadHeader, RefusesAHeaderAboveTheLimitWithoutReadingIt) {
  const TempFolder folder;
  const fs::path file = folder.write("a", length_bytes(kLargestHeader + 1));
  fs::resize_file(file, kLargestHeader + 100);  // sparse
  EXPECT_ERROR(ErrorCode::header_too_large, read_safetensors_header(file));
  EXPECT_ERROR(ErrorCode::header_too_large,
               read_safetensors_header(folder.write("b", length_bytes(~std::uint64_t{0}))));
}

TEST(ReadHeader, RefusesAHeaderLongerThanTheFile) {
  const TempFolder folder;
  const std::string bytes = file_bytes(kSixBytes, 0);
  EXPECT_ERROR(ErrorCode::invalid_header_length,
               read_safetensors_header(folder.write("a", bytes.substr(0, bytes.size() - 1))));
  EXPECT_ERROR(ErrorCode::invalid_header_length,
               read_safetensors_header(folder.write("b", length_bytes(1))));
}

TEST(ReadHeader, RefusesAFileThatEndsTooEarly) {
  const TempFolder folder;
  for (const std::size_t size : {0, 5}) {
    const auto error = error_of([&] {
      read_safetensors_header(folder.write("a.safetensors", file_bytes(kSixBytes, size)));
    });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::file_size_mismatch);
    EXPECT_THAT(error->what(), HasSubstr("ends before its last tensor"));
  }
}

TEST(ReadHeader, RefusesAFileThatGoesOn) {
  const TempFolder folder;
  const auto error = error_of(
      [&] { read_safetensors_header(folder.write("a.safetensors", file_bytes(kSixBytes, 7))); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::file_size_mismatch);
  EXPECT_THAT(error->what(), HasSubstr("goes on after its last tensor"));
  EXPECT_EQ(error->details().file, folder / "a.safetensors");
  EXPECT_ERROR(ErrorCode::file_size_mismatch,
               read_safetensors_header(folder.write("b", file_bytes("{}", 1))));
}

TEST(ReadHeader, RefusesAGitLfsPointer) {
  const TempFolder folder;
  const fs::path file = folder.write("a.safetensors",
                                     "version https://git-lfs.github.com/spec/v1\n"
                                     "oid sha256:4d7a21\nsize 4792272488\n");
  const auto error = error_of([&] { read_safetensors_header(file); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::git_lfs_pointer);
  EXPECT_THAT(error->what(), HasSubstr("git lfs pull"));
}

TEST(ReadHeader, RefusesAMissingFile) {
  const TempFolder folder;
  EXPECT_ERROR(ErrorCode::io_error, read_safetensors_header(folder / "none"));
}

StateDict two_tensors() {
  const std::array<float, 6> floats = {0.0f, -1.5f, 2.0f, 3.0f, 1e-40f, 5.0f};
  const std::array<std::uint8_t, 5> bytes = {9, 8, 7, 6, 255};
  StateDict dict;
  Tensor small = Tensor::empty(DType::U8, {5});
  std::memcpy(small.data(), bytes.data(), sizeof bytes);
  Tensor large = Tensor::empty(DType::F32, {2, 3});
  std::memcpy(large.data(), floats.data(), sizeof floats);
  dict.set("small", small);
  dict.set("large", large);
  return dict;
}

TEST(SaveSafetensors, ComesBackTheSame) {
  const TempFolder folder;
  const StateDict saved = two_tensors();
  save_safetensors(saved, folder / "a.safetensors", {{"format", "pt"}});
  const StateDict loaded = load_safetensors(folder / "a.safetensors");
  EXPECT_THAT(loaded.names(), ElementsAre("large", "small"));
  for (const auto& [name, tensor] : saved) {
    EXPECT_EQ(loaded.at(name).dtype(), tensor.dtype());
    EXPECT_EQ(loaded.at(name).shape(), tensor.shape());
    ASSERT_EQ(loaded.at(name).byte_count(), tensor.byte_count());
    EXPECT_EQ(std::memcmp(loaded.at(name).data(), tensor.data(), tensor.byte_count()), 0);
  }
  EXPECT_EQ(read_safetensors_header(folder / "a.safetensors").metadata.at("format"), "pt");
}

TEST(SaveSafetensors, WritesAnEmptyFile) {
  const TempFolder folder;
  save_safetensors({}, folder / "a.safetensors");
  EXPECT_EQ(content_of(folder / "a.safetensors"), length_bytes(8) + "{}      ");
}

TEST(SaveSafetensors, ReplacesAnOlderFileAndLeavesNoOther) {
  const TempFolder folder;
  folder.write("a.safetensors", "older and longer than the new one");
  save_safetensors({}, folder / "a.safetensors");
  EXPECT_EQ(fs::file_size(folder / "a.safetensors"), 16u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(SaveSafetensors, LeavesTheOlderFileWhereItFails) {
  const TempFolder folder;
  folder.write("a.safetensors", "older");
  StateDict dict;
  dict.set("__metadata__", Tensor::empty(DType::U8, {1}));
  EXPECT_ERROR(ErrorCode::invalid_argument, save_safetensors(dict, folder / "a.safetensors"));
  EXPECT_EQ(content_of(folder / "a.safetensors"), "older");
  EXPECT_ERROR(ErrorCode::io_error, save_safetensors({}, folder / "none/a.safetensors"));
}

}  // namespace
}  // namespace mxferry::internal::testing
