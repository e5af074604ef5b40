#include "base/file_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "tests/base/expect_error.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

TEST(FileLock, IsHeldByOneAtATime) {
  const TempFolder folder;
  const fs::path path = folder / "lock";
  EXPECT_FALSE(is_locked(path));
  std::optional<FileLock> first = FileLock::try_take(path);
  ASSERT_TRUE(first);
  EXPECT_TRUE(is_locked(path));
  EXPECT_FALSE(FileLock::try_take(path));
  const FileLock moved = std::move(*first);
  first.reset();
  EXPECT_TRUE(is_locked(path));
  EXPECT_TRUE(FileLock::try_take(folder / "other"));
}

TEST(FileLock, GoesWithItsHolder) {
  const TempFolder folder;
  const fs::path path = folder / "lock";
  {
    const auto lock = FileLock::try_take(path);
  }
  EXPECT_FALSE(is_locked(path));
  EXPECT_TRUE(FileLock::try_take(path));
}

// As a data loader's workers are, while a checkpoint is saved.
TEST(FileLock, IsNotProlongedByAProcessForkedMeanwhile) {
  const TempFolder folder;
  const fs::path path = folder / "lock";
  std::optional<FileLock> lock = FileLock::try_take(path);
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  ASSERT_GT(child, 0);
  EXPECT_TRUE(is_locked(path));
  lock.reset();
  EXPECT_FALSE(is_locked(path));
  EXPECT_TRUE(FileLock::try_take(path));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST(FileLock, IsOfTheFileThatHasTheName) {
  const TempFolder folder;
  const fs::path path = folder / "lock";
  const auto of_removed = FileLock::try_take(path);
  fs::remove(path);
  EXPECT_TRUE(FileLock::try_take(path));
  EXPECT_FALSE(of_removed->file().is_at(path));
}

TEST(FileLock, FollowsNoLink) {
  const TempFolder folder;
  folder.write("mine", "text");
  fs::create_symlink("mine", folder / "lock");
  EXPECT_ERROR(ErrorCode::io_error, FileLock::try_take(folder / "lock"));
  EXPECT_ERROR(ErrorCode::io_error, FileLock::try_take(folder / "none/lock"));
}

}  // namespace
}  // namespace mxferry::internal
