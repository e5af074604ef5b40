#include "checkpoint/known_digests.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry {
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

}  // namespace
}  // namespace mxferry
