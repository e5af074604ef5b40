#pragma once

#include <filesystem>
#include <optional>

#include "base/file.h"

namespace mxferry::internal {

// An exclusive lock on a file, held for this object's lifetime or until its process ends. It
// excludes other processes and other holders in this process. A process forked meanwhile does not
// extend it.
class FileLock {
 public:
  // Creates the file if it is missing. Returns nullopt if the lock is held elsewhere. Throws
  // Error(io_error), also if the file system has no locks.
  static std::optional<FileLock> try_take(const std::filesystem::path& path);

  FileLock(FileLock&&) noexcept = default;
  FileLock& operator=(FileLock&&) noexcept = default;
  ~FileLock();

  // The file, open for reading and writing.
  const File& file() const noexcept { return *file_; }

 private:
  explicit FileLock(File file) noexcept;

  std::optional<File> file_;
};

// Whether the lock on a file is held. False if there is no such file.
bool is_locked(const std::filesystem::path& path);

}  // namespace mxferry::internal
