#include "checkpoint/known_digests.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

const std::string kSha256(64, 'a');
const std::string kGit(40, 'b');

// As huggingface_hub lays it out: large files under their SHA-256, others under git's hash.
TEST(KnownDigests, OfASnapshotAreTheNamesOfItsBlobs) {
  const TempFolder cache;
  const fs::path entry = cache / "models--openai--gpt-oss-20b";
  const fs::path snapshot = entry / "snapshots/0123";
  fs::create_directories(snapshot / "original");
  fs::create_symlink("../../blobs/" + kSha256, snapshot / "large");
  fs::create_symlink("../../../blobs/" + kGit, snapshot / "original/small");
  fs::create_symlink("large", snapshot / "of_no_digest");
  cache.write("models--openai--gpt-oss-20b/snapshots/0123/own", "x");
  const KnownDigests found = find_known_digests(snapshot);
  EXPECT_EQ(found.by_name, (Manifest{{"large", kSha256}, {"original/small", kGit}}));
  EXPECT_NE(found.from.find("cache"), std::string::npos);
}

TEST(KnownDigests, OfAFolderAreItsManifest) {
  const TempFolder folder;
  EXPECT_ERROR(ErrorCode::not_a_checkpoint, find_known_digests(folder.path()));
  folder.write("SHA256SUMS", kSha256 + "  a\n");
  EXPECT_EQ(find_known_digests(folder.path()).by_name, (Manifest{{"a", kSha256}}));
  EXPECT_EQ(find_known_digests(folder.path()).from, "SHA256SUMS");
  folder.write("SHA256SUMS", "# none\n");
  EXPECT_ERROR(ErrorCode::invalid_manifest, find_known_digests(folder.path()));
}

TEST(KnownDigests, OfADownloadAreWhatItNoted) {
  const TempFolder folder;
  const std::string downloads = ".cache/huggingface/download/";
  folder.write(downloads + "large.metadata", "commit\n" + kSha256 + "\n1712656091.1\n");
  folder.write(downloads + "original/small.metadata", "commit\n" + kGit + "\n1712656091.1\n");
  folder.write(downloads + "cut.metadata", "commit\n" + kSha256.substr(1));
  folder.write(downloads + "empty.metadata", "");
  folder.write(downloads + "large.lock", "");
  const KnownDigests found = find_known_digests(folder.path());
  EXPECT_EQ(found.by_name, (Manifest{{"large", kSha256}, {"original/small", kGit}}));
  EXPECT_NE(found.from.find("download"), std::string::npos);
}

TEST(KnownDigests, AreNotReadOutsideTheFolder) {
  const TempFolder elsewhere;
  const std::string noted = "commit\n" + kSha256 + "\n1.0\n";
  elsewhere.write("SHA256SUMS", kSha256 + "  a\n");
  elsewhere.write("download/a.metadata", noted);
  const auto refuse = [&](const std::string& name, const fs::path& target) {
    const TempFolder folder;
    folder.write(".cache/huggingface/x", "");
    fs::create_symlink(target, folder / name);
    EXPECT_ERROR(ErrorCode::not_a_checkpoint, find_known_digests(folder.path())) << name;
  };
  refuse("SHA256SUMS", elsewhere / "SHA256SUMS");
  refuse(".cache/huggingface/download", elsewhere / "download");
  const TempFolder folder;
  const std::string downloads = ".cache/huggingface/download/";
  folder.write(downloads + "own.metadata", noted);
  fs::create_symlink(elsewhere / "download", folder / (downloads + "below"));
  fs::create_symlink(elsewhere / "download/a.metadata", folder / (downloads + "a.metadata"));
  EXPECT_EQ(find_known_digests(folder.path()).by_name, (Manifest{{"own", kSha256}}));
}

}  // namespace
}  // namespace mxferry::internal
