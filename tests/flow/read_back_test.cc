#include "flow/read_back.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

// 200,000 bytes of one tensor, behind 10 of a header.
class ReadBackTest : public ::testing::Test {
 protected:
  ReadBackTest() : bytes_(200'000) {
    for (std::size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<std::byte>(i * 7 / 5);
    const File file = File::create(path_);
    file.write(10, bytes_);
  }

  ReadBack sink() {
    std::vector<std::optional<WrittenFile>> files;
    files.emplace_back(WrittenFile{File::open_for_reading(path_)});
    return {catalog_, std::move(files)};
  }

  testing::TempFolder folder_;
  std::filesystem::path path_ = folder_ / "file";
  std::vector<std::byte> bytes_;
  Catalog catalog_ = {{"tensor", DType::U8, {200'000}, 0, 10, 200'000}};
};

TEST_F(ReadBackTest, AcceptsWhatTheFileHolds) {
  ReadBack sink = this->sink();
  sink.write(0, 0, bytes_);
  sink.write(0, 130'001, std::span(bytes_).subspan(130'001, 5));
  sink.finish_shard(0);
}

TEST_F(ReadBackTest, NamesTheFirstByteThatDiffers) {
  ReadBack sink = this->sink();
  for (const std::size_t place :
       {std::size_t{0}, std::size_t{65'535}, std::size_t{65'536}, std::size_t{199'999}}) {
    std::vector<std::byte> changed = bytes_;
    changed[place] ^= std::byte{1};
    const auto error = testing::error_of([&] { sink.write(0, 0, changed); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::verification_failed);
    EXPECT_EQ(category(error->code()), ErrorCategory::system);
    EXPECT_EQ(error->details().tensor, "tensor");
    EXPECT_TRUE(
        error->details().problem.ends_with("at byte " + std::to_string(place) + " of the tensor"))
        << error->what();
  }
}

TEST_F(ReadBackTest, AShortFileIsAnError) {
  std::filesystem::resize_file(path_, 1000);
  ReadBack sink = this->sink();
  EXPECT_ERROR(ErrorCode::file_size_mismatch, sink.write(0, 0, bytes_));
}

}  // namespace
}  // namespace mxferry::internal
