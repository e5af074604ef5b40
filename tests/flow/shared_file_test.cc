#include "flow/shared_file.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::TempFolder;

// Bytes of the file that one writer writes in one call.
struct Stretch {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  std::size_t writer = 0;
};

// All bytes of a file, in stretches of any length by any of the writers, in any order.
std::vector<Stretch> any_stretches(std::uint64_t size, std::size_t writers) {
  std::vector<Stretch> stretches;
  const auto longest = *rc::gen::element<std::uint64_t>(700, 9'000, 70'000, 300'000);
  for (std::uint64_t begin = 0; begin < size;) {
    const auto length = std::min(size - begin, *rc::gen::inRange<std::uint64_t>(1, longest));
    stretches.push_back({begin, length, *rc::gen::inRange<std::size_t>(0, writers)});
    begin += length;
  }
  const auto order = *rc::gen::element(0, 1, 2);
  if (order == 1) std::ranges::reverse(stretches);
  if (order == 2)
    std::ranges::stable_sort(stretches, {},
                             [](const Stretch& stretch) { return stretch.begin % 7; });
  return stretches;
}

std::vector<std::byte> bytes_of(const Stretch& stretch) {
  return std::vector<std::byte>(stretch.size, static_cast<std::byte>(stretch.writer + 1));
}

// No two writers touch the same page, and all bytes arrive.
TEST(SharedFile, HasOneWriterAPage) {
  const bool holds = rc::check("One writer a page, and every byte", [] {
    const TempFolder folder;
    const std::size_t writers = *rc::gen::inRange<std::size_t>(1, 5);
    const auto size = *rc::gen::inRange<std::uint64_t>(1, 1'000'000);
    const std::vector<Stretch> stretches = any_stretches(size, writers);
    std::deque<SharedFile> files;
    std::vector<fs::path> borders;
    for (std::size_t i = 0; i < writers; ++i) {
      borders.push_back(folder / ("borders-" + std::to_string(i)));
      files.emplace_back(folder / "file", borders[i], size);
    }
    std::string expected(size, '\0');
    for (const Stretch& stretch : stretches) {
      files[stretch.writer].write(stretch.begin, bytes_of(stretch));
      std::fill_n(expected.begin() + static_cast<long>(stretch.begin), stretch.size,
                  static_cast<char>(stretch.writer + 1));
    }
    for (SharedFile& file : files) file.finish(false);
    const std::string direct = content_of(folder / "file");
    RC_ASSERT(direct.size() == size);
    for (std::uint64_t page = 0; page < size; page += kBorderPage) {
      const std::string bytes = direct.substr(page, kBorderPage);
      RC_ASSERT(std::set<char>(bytes.begin(), bytes.end()).size() == 1U);
    }
    // Each sees its own bytes before the others are done, as a part does that verifies.
    for (const Stretch& stretch : stretches) {
      std::vector<std::byte> read(stretch.size);
      files[stretch.writer].file().read(stretch.begin, read);
      Borders(borders[stretch.writer], size).overlay(stretch.begin, read);
      RC_ASSERT(read == bytes_of(stretch));
    }
    for (const fs::path& path : borders) Borders(path, size).apply(files[0].file());
    RC_ASSERT(content_of(folder / "file") == expected);
  });
  EXPECT_TRUE(holds);
}

// Where others have every other line of every page, nothing fills a page: memory is bounded.
TEST(SharedFile, KeepsNoMoreThanItMay) {
  const TempFolder folder;
  constexpr std::uint64_t kLine = 1000;
  constexpr std::uint64_t kSize = 16 << 20;
  SharedFile file(folder / "file", folder / "borders", kSize);
  const std::vector<std::byte> line(kLine, std::byte{1});
  for (std::uint64_t begin = 0; begin + kLine <= kSize; begin += 2 * kLine) {
    file.write(begin, line);
    const std::uint64_t written = begin / 2 + kLine;
    EXPECT_GE(fs::file_size(folder / "borders") + kMostKeptBytes + kLine, written);
  }
  file.finish(true);
  Borders(folder / "borders", kSize).apply(file.file());
  const std::string content = content_of(folder / "file");
  for (std::uint64_t i = 0; i + 2 * kLine <= kSize; i += 2 * kLine) {
    ASSERT_EQ(content[i + kLine - 1], '\1');
    ASSERT_EQ(content[i + kLine], '\0');
  }
}

TEST(SharedFile, IsNoOthersFile) {
  const TempFolder folder;
  folder.write("file", "of another size");
  EXPECT_ERROR(ErrorCode::file_size_mismatch, SharedFile(folder / "file", folder / "borders", 4));
  fs::create_symlink("file", folder / "link");
  EXPECT_ERROR(ErrorCode::io_error, SharedFile(folder / "link", folder / "borders", 15));
}

TEST(Borders, ThatAreDamagedAreRefused) {
  const TempFolder folder;
  {
    BorderWriter writer(folder / "borders");
    writer.add(10, std::vector<std::byte>(5));
    writer.add(90, std::vector<std::byte>(10));
  }
  const std::string whole = content_of(folder / "borders");
  EXPECT_NO_THROW(Borders(folder / "borders", 100));
  EXPECT_ERROR(ErrorCode::file_size_mismatch, Borders(folder / "borders", 99));
  for (std::size_t length = 1; length < whole.size(); ++length) {
    folder.write("cut", whole.substr(0, length));
    if (length == sizeof(BorderHead) + 5) continue;  // one piece less, which nobody can tell
    EXPECT_ERROR(ErrorCode::file_size_mismatch, Borders(folder / "cut", 100)) << length;
  }
}

}  // namespace
}  // namespace mxferry::internal
