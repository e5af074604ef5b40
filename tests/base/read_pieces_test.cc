#include "base/read_pieces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stop_token>
#include <string>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

using testing::TempFolder;

class ReadPiecesTest : public ::testing::Test {
 protected:
  ReadPiecesTest() {
    for (std::size_t i = 0; i < text_.size(); ++i) text_[i] = static_cast<char>(i * i % 251);
    folder_.write("file", text_);
  }
  std::string read(std::uint64_t begin, std::uint64_t end, const std::stop_token& stop = {}) const {
    std::string taken;
    read_pieces(File::open_for_reading(folder_ / "file"), begin, end, stop,
                [&](std::span<const std::byte> piece) {
                  EXPECT_LE(piece.size(), kPieceBytes);
                  taken.append(reinterpret_cast<const char*>(piece.data()), piece.size());
                });
    return taken;
  }

  TempFolder folder_;
  std::string text_ = std::string(3 * kPieceBytes + 17, '\0');
};

TEST_F(ReadPiecesTest, GivesEveryByteOnceAndInOrder) {
  EXPECT_EQ(read(0, text_.size()), text_);
  EXPECT_EQ(read(5, kPieceBytes + 6), text_.substr(5, kPieceBytes + 1));
  EXPECT_EQ(read(7, 7), "");
}

TEST_F(ReadPiecesTest, RefusesWhatIsBehindTheEnd) {
  EXPECT_ERROR(ErrorCode::file_size_mismatch, read(0, text_.size() + 1));
}

TEST_F(ReadPiecesTest, StopsOnRequest) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_ERROR(ErrorCode::cancelled, read(0, text_.size(), stop.get_token()));
}

}  // namespace
}  // namespace mxferry::internal
