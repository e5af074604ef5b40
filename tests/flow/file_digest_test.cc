#include "flow/file_digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

using testing::TempFolder;

std::string random_text(std::size_t size) {
  std::mt19937_64 random(size);
  std::string text(size, '\0');
  std::ranges::generate(text, [&] { return static_cast<char>(random()); });
  return text;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Sizes around a window of 1 MiB, and more windows than are hashed in one go.
class FileDigestTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  const std::string text_ = random_text(GetParam());
  const TempFolder folder_;
  const File file_ = File::create(folder_ / "file");
};

// Every thread writes pieces of every size, in an order of its own.
TEST_P(FileDigestTest, IsThatOfTheFileWhateverTheOrder) {
  std::mt19937_64 random(1);
  std::vector<std::pair<std::size_t, std::size_t>> pieces;
  for (std::size_t begin = 0; begin < text_.size();) {
    const std::size_t size = std::min<std::size_t>(1 + random() % 700'000, text_.size() - begin);
    pieces.emplace_back(begin, size);
    begin += size;
  }
  std::ranges::shuffle(pieces, random);
  FileDigest digest(text_.size());
  parallel_for(4, std::ssize(pieces), [&](std::int64_t i) {
    const auto [begin, size] = pieces[static_cast<std::size_t>(i)];
    file_.write(begin, bytes_of(text_).subspan(begin, size));
    digest.note_written(file_, begin, size);
  });
  EXPECT_EQ(digest.finish(file_, {}), sha256_of(bytes_of(text_)));
}

TEST_P(FileDigestTest, IsThatOfTheFileWrittenInOrder) {
  FileDigest digest(text_.size());
  constexpr std::size_t kPiece = 300'000;
  for (std::size_t begin = 0; begin < text_.size(); begin += kPiece) {
    const std::size_t size = std::min(kPiece, text_.size() - begin);
    file_.write(begin, bytes_of(text_).subspan(begin, size));
    digest.note_written(file_, begin, size);
  }
  EXPECT_EQ(digest.finish(file_, {}), sha256_of(bytes_of(text_)));
}

INSTANTIATE_TEST_SUITE_P(Sizes, FileDigestTest,
                         ::testing::Values(1, 1'048'575, 1'048'576, 1'048'577, 5'000'000,
                                           40'000'003));

TEST(FileDigest, OfAnEmptyFileIsThatOfNothing) {
  const TempFolder folder;
  const File file = File::create(folder / "file");
  EXPECT_EQ(FileDigest(0).finish(file, {}), sha256_of({}));
}

TEST(FileDigest, StopsOnRequest) {
  const TempFolder folder;
  const File file = File::create(folder / "file");
  file.set_size(10);
  std::stop_source stop;
  stop.request_stop();
  FileDigest digest(10);
  EXPECT_ERROR(ErrorCode::cancelled, digest.finish(file, stop.get_token()));
}

}  // namespace
}  // namespace mxferry::internal
