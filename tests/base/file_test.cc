#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string read(const File& file, std::uint64_t offset, std::size_t size) {
  std::string text(size, '\0');
  file.read(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
}

TEST(File, IsOpenedForWritingAsItIs) {
  const TempFolder folder;
  File::open_for_writing(folder.write("a", "0123456789")).write(3, bytes("xy"));
  EXPECT_EQ(content_of(folder / "a"), "012xy56789");
  EXPECT_ERROR(ErrorCode::io_error, File::open_for_writing(folder / "b"));
  EXPECT_FALSE(fs::exists(folder / "b"));
}

TEST(File, ReadsAtAnyOffset) {
  const TempFolder folder;
  const File file = File::open_for_reading(folder.write("a", "0123456789"));
  EXPECT_EQ(file.size(), 10u);
  EXPECT_EQ(file.path(), folder / "a");
  EXPECT_EQ(read(file, 3, 4), "3456");
  EXPECT_EQ(read(file, 0, 10), "0123456789");
  EXPECT_EQ(read(file, 10, 0), "");
}

TEST(File, ReadsIntoManyPlaces) {
  const TempFolder folder;
  // More places than one call of the system takes, some of them empty.
  constexpr std::size_t kPlaces = 3000;
  std::string content;
  for (std::size_t i = 0; i < 2 * kPlaces; ++i) content += static_cast<char>('a' + i % 23);
  const File file = File::open_for_reading(folder.write("a", content));
  std::string memory(3 * kPlaces, '.');
  std::vector<std::span<std::byte>> places;
  std::string expected = memory;
  std::size_t next = 5;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    const std::size_t size = i % 3;
    places.push_back(std::as_writable_bytes(std::span(memory)).subspan(3 * i, size));
    expected.replace(3 * i, size, content, next, size);
    next += size;
  }
  file.read_into(5, places);
  EXPECT_EQ(memory, expected);
  file.read_into(content.size(), {});
  EXPECT_ERROR(ErrorCode::file_size_mismatch, file.read_into(content.size() - 2, places));
  const std::vector<std::span<std::byte>> nothing(2);
  file.read_into(content.size(), nothing);
}

TEST(File, WritesAtAnyOffset) {
  const TempFolder folder;
  const File file = File::create(folder / "a");
  file.write(4, bytes("4567"));
  file.write(0, bytes("0123"));
  file.start_flush(0, 8);
  file.sync();
  EXPECT_EQ(read(file, 0, 8), "01234567");
  EXPECT_EQ(content_of(folder / "a"), "01234567");
}

TEST(File, EmptiesAnOlderFile) {
  const TempFolder folder;
  folder.write("a", "older");
  EXPECT_EQ(File::create(folder / "a").size(), 0u);
}

TEST(File, IsCreatedInThePlaceOfALinkAndNotThroughIt) {
  const TempFolder folder;
  folder.write("victim", "mine");
  fs::create_symlink("victim", folder / "soft");
  fs::create_hard_link(folder / "victim", folder / "hard");
  for (const char* name : {"soft", "hard"}) {
    File::create(folder / name).write(0, bytes("new"));
    EXPECT_EQ(content_of(folder / name), "new");
    EXPECT_EQ(content_of(folder / "victim"), "mine");
  }
  fs::create_directory(folder / "folder");
  EXPECT_ERROR(ErrorCode::io_error, File::create(folder / "folder"));
  fs::create_symlink("victim", folder / "soft again");
  EXPECT_ERROR(ErrorCode::io_error, File::create_or_open(folder / "soft again"));
  EXPECT_ERROR(ErrorCode::io_error, File::open_for_writing(folder / "soft again"));
}

TEST(File, MayBeReadByManyThreads) {
  const TempFolder folder;
  std::string content;
  for (int i = 0; i < 4096; ++i) content += static_cast<char>('a' + i % 26);
  const File file = File::open_for_reading(folder.write("a", content));
  std::vector<std::jthread> threads;
  for (std::size_t first = 0; first < 4; ++first) {
    threads.emplace_back([&, first] {
      for (std::size_t i = first; i < content.size(); i += 4) {
        ASSERT_EQ(read(file, i, 1)[0], content[i]);
      }
    });
  }
}

TEST(File, ReservesSpace) {
  const TempFolder folder;
  const File file = File::create(folder / "a");
  file.preallocate(1 << 20);
  EXPECT_EQ(file.size(), 1u << 20);
  EXPECT_EQ(read(file, (1 << 20) - 1, 1), std::string(1, '\0'));
  file.preallocate(0);
  EXPECT_EQ(file.size(), 0u);
}

TEST(File, MovesItsDescriptor) {
  const TempFolder folder;
  File first = File::open_for_reading(folder.write("a", "first"));
  File second = File::open_for_reading(folder.write("b", "second"));
  File third = std::move(first);
  EXPECT_EQ(read(third, 0, 5), "first");
  third = std::move(second);
  EXPECT_EQ(read(third, 0, 6), "second");
  EXPECT_EQ(third.path(), folder / "b");
}

TEST(File, ClosesItsDescriptor) {
  const TempFolder folder;
  folder.write("a", "content");
  // More than any limit on open files.
  for (int i = 0; i < 100'000; ++i) File::open_for_reading(folder / "a");
}

TEST(File, RefusesToReadBeyondTheEnd) {
  const TempFolder folder;
  const File file = File::open_for_reading(folder.write("a", "0123456789"));
  const auto error = error_of([&] { read(file, 8, 4); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::file_size_mismatch);
  EXPECT_EQ(error->details().file, folder / "a");
  EXPECT_ERROR(ErrorCode::file_size_mismatch, read(file, 1000, 1));
}

TEST(File, RefusesAnOffsetThatIsNoOffset) {
  const TempFolder folder;
  const File file = File::open_for_reading(folder.write("a", "0123456789"));
  EXPECT_ERROR(ErrorCode::io_error, read(file, ~std::uint64_t{0}, 1));
}

TEST(File, SaysWhyItCannotBeOpened) {
  const TempFolder folder;
  const auto error = error_of([&] { File::open_for_reading(folder / "none"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::io_error);
  EXPECT_THAT(error->what(), HasSubstr("none: cannot open: No such file or directory"));
}

TEST(File, SaysWhyItCannotBeCreated) {
  const TempFolder folder;
  const auto error = error_of([&] { File::create(folder / "none/a"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::io_error);
  EXPECT_THAT(error->what(), HasSubstr("cannot create: No such file or directory"));
}

TEST(File, SaysThatTheDiskIsFull) {
  const File full = File::open_for_writing("/dev/full");
  const auto error = error_of([&] { full.write(0, bytes("a")); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::io_error);
  EXPECT_THAT(error->what(), HasSubstr("/dev/full: cannot write: No space left on device"));
}

TEST(File, RefusesWhatIsNoRegularFileWithoutWaitingForIt) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  fs::create_directory(folder / "folder");
  fs::create_symlink("/dev/zero", folder / "device");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (folder / "socket").c_str(), sizeof address.sun_path - 1);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  for (const char* name : {"fifo", "folder", "device", "socket"}) {
    EXPECT_ERROR(ErrorCode::not_a_checkpoint, File::open_for_reading(folder / name)) << name;
  }
  ::close(socket);
}

TEST(AtomicFile, HasItsNameOnlyWhenItIsComplete) {
  const TempFolder folder;
  folder.write("a", "older");
  AtomicFile atomic(folder / "a", /*sync=*/true);
  atomic.file().write(0, bytes("newer"));
  EXPECT_EQ(content_of(folder / "a"), "older");
  EXPECT_EQ(content_of(folder / "a.partial"), "newer");
  atomic.commit();
  EXPECT_EQ(content_of(folder / "a"), "newer");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, KeepsItsFileWhenItGoes) {
  const TempFolder folder;
  {
    AtomicFile atomic(folder / "a", /*sync=*/false);
    atomic.commit();
  }
  EXPECT_TRUE(fs::exists(folder / "a"));
}

TEST(AtomicFile, RemovesThePartWhenItIsNotCommitted) {
  const TempFolder folder;
  {
    const AtomicFile atomic(folder / "a", /*sync=*/true);
    atomic.file().write(0, bytes("half"));
  }
  EXPECT_EQ(entries(folder.path()), 0u);
}

TEST(AtomicFile, StartsAnewOverAnOlderPart) {
  const TempFolder folder;
  folder.write("a.partial", "what an interrupted run left behind");
  AtomicFile atomic(folder / "a", /*sync=*/false);
  atomic.file().write(0, bytes("new"));
  atomic.commit();
  EXPECT_EQ(content_of(folder / "a"), "new");
}

TEST(AtomicFile, TakesTheLongestName) {
  const TempFolder folder;
  const fs::path path = folder / std::string(255, 'n');
  AtomicFile atomic(path, /*sync=*/false);
  EXPECT_EQ(list_folder(folder.path()), std::vector{std::string(247, 'n') + ".partial"});
  atomic.commit();
  EXPECT_TRUE(is_file(path));
}

TEST(AtomicFile, TakesANameWithoutFolder) {
  const fs::path before = fs::current_path();
  const TempFolder folder;
  fs::current_path(folder.path());
  AtomicFile atomic("a", /*sync=*/true);
  atomic.commit();
  fs::current_path(before);
  EXPECT_TRUE(fs::exists(folder / "a"));
}

TEST(AtomicFile, LeavesNothingWhereItCannotTakeItsName) {
  const TempFolder folder;
  folder.write("a/in the way", "");
  {
    AtomicFile atomic(folder / "a", /*sync=*/true);
    EXPECT_ERROR(ErrorCode::io_error, atomic.commit());
  }
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(AtomicFile, NeedsItsFolder) {
  const TempFolder folder;
  EXPECT_ERROR(ErrorCode::io_error, AtomicFile(folder / "none/a", true));
}

// The limit on a file's size stands for a disk that fills up.
TEST(AtomicFile, LeavesTheOlderFileWhereTheDiskIsFull) {
  const TempFolder folder;
  folder.write("a", "older");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 10;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto error =
      error_of([&] { write_text_file(folder / "a", "longer than it may be", true); });
  const auto reserving = error_of([&] { AtomicFile(folder / "b", true).file().preallocate(11); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::io_error);
  ASSERT_TRUE(reserving);
  EXPECT_EQ(reserving->code(), ErrorCode::io_error);
  EXPECT_EQ(content_of(folder / "a"), "older");
  EXPECT_EQ(entries(folder.path()), 1u);
}

TEST(SyncFolder, NeedsAFolder) {
  const TempFolder folder;
  folder.write("a", "");
  sync_folder(folder.path());
  sync_folder("");
  EXPECT_ERROR(ErrorCode::io_error, sync_folder(folder / "none"));
  EXPECT_ERROR(ErrorCode::io_error, sync_folder(folder / "a"));
}

TEST(TextFile, ComesBackTheSame) {
  const TempFolder folder;
  const std::string text("line\n\0\xFF", 7);
  write_text_file(folder / "a", text, true);
  EXPECT_EQ(read_text_file(folder / "a", 7), text);
  write_text_file(folder / "a", "", false);
  EXPECT_EQ(read_text_file(folder / "a", 0), "");
}

TEST(TextFile, MayNotBeLargerThanItsLimit) {
  const TempFolder folder;
  const auto error = error_of([&] { read_text_file(folder.write("a", "12345678"), 7); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error->details().file, folder / "a");
  EXPECT_EQ(error->details().found, "8");
}

}  // namespace
}  // namespace mxferry::internal::testing
