#include "mxferry/verify_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TempFolder;

// Of "abc", "" and "abd".
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kAbd = "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9";

VerifyManifestReport check(const fs::path& folder, int threads = 2) {
  return verify_manifest({.source = folder, .threads = threads});
}

class VerifyManifest : public ::testing::Test {
 protected:
  void write_manifest() const {
    folder_.write("SHA256SUMS", std::string(kAbc) + "  a\n" + kNothing + "  below/b\n");
  }

  const TempFolder folder_;
};

TEST_F(VerifyManifest, FindsFilesIntact) {
  folder_.write("a", "abc");
  folder_.write("below/b", "");
  folder_.write("c", "");
  write_manifest();
  for (const int threads : {0, 1, 5}) {
    const VerifyManifestReport report = check(folder_.path(), threads);
    EXPECT_TRUE(report.intact());
    EXPECT_EQ(report.files, 2U);
    EXPECT_EQ(report.bytes_read, 3U);
    EXPECT_EQ(report.manifest, "SHA256SUMS");
    EXPECT_THAT(report.unlisted, ElementsAre("c"));
  }
}

TEST_F(VerifyManifest, SaysWhatEachFileHasInstead) {
  folder_.write("a", "abd");
  write_manifest();
  const VerifyManifestReport report = check(folder_.path());
  EXPECT_FALSE(report.intact());
  ASSERT_EQ(report.damaged.size(), 2U);
  EXPECT_EQ(report.damaged[0].name, "a");
  EXPECT_EQ(report.damaged[0].expected, kAbc);
  EXPECT_EQ(report.damaged[0].found, kAbd);
  EXPECT_EQ(report.damaged[0].problem, "differs");
  EXPECT_EQ(report.damaged[1].name, "below/b");
  EXPECT_EQ(report.damaged[1].found, "");
  EXPECT_EQ(report.damaged[1].problem, "is missing");
}

TEST_F(VerifyManifest, ReadsNeitherFoldersNorLinksThatLeave) {
  const TempFolder elsewhere;
  elsewhere.write("a", "abc");
  fs::create_symlink(elsewhere / "a", folder_ / "a");
  fs::create_directories(folder_ / "below/b");
  write_manifest();
  const VerifyManifestReport report = check(folder_.path());
  ASSERT_EQ(report.damaged.size(), 2U);
  EXPECT_EQ(report.damaged[0].problem, "is a link that leaves the folder");
  EXPECT_EQ(report.damaged[1].problem, "not a regular file");
}

TEST_F(VerifyManifest, RefusesFoldersWithoutOne) {
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, check(folder_ / "nowhere"));
  folder_.write("a", "abc");
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, check(folder_.path()));
  folder_.write("SHA256SUMS", "# none\n");
  EXPECT_ERROR(ErrorCode::invalid_manifest, check(folder_.path()));
  folder_.write("SHA256SUMS", "abc  a\n");
  EXPECT_ERROR(ErrorCode::invalid_manifest, check(folder_.path()));
  write_manifest();
  EXPECT_ERROR(ErrorCode::invalid_argument, check(folder_.path(), -1));
}

TEST_F(VerifyManifest, StopsOnRequest) {
  folder_.write("a", "abc");
  write_manifest();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_ERROR(ErrorCode::cancelled,
               verify_manifest({.source = folder_.path(), .stop = stop.get_token()}));
}

// Small files of the Hub have git's hash.
TEST_F(VerifyManifest, KnowsBothHashesOfTheHub) {
  const std::string downloads = ".cache/huggingface/download/";
  folder_.write(downloads + "a.metadata", std::string("commit\n") + kAbc + "\n1.0\n");
  folder_.write(downloads + "b.metadata",
                "commit\nf2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f\n1.0\n");
  folder_.write("a", "abc");
  folder_.write("b", "abc");
  EXPECT_TRUE(check(folder_.path()).intact());
  folder_.write("b", "abd");
  const VerifyManifestReport report = check(folder_.path());
  ASSERT_EQ(report.damaged.size(), 1U);
  EXPECT_EQ(report.damaged[0].name, "b");
  EXPECT_EQ(report.damaged[0].problem, "differs");
}

}  // namespace
}  // namespace mxferry::internal
