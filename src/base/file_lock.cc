#include "base/file_lock.h"

#include <utility>

namespace mxferry::internal {

FileLock::FileLock(File file) noexcept : file_(std::move(file)) {}

FileLock::~FileLock() {
  if (file_) file_->unlock();
}

std::optional<FileLock> FileLock::try_take(const std::filesystem::path& path) {
  // The last holder may remove the file between open and lock.
  constexpr int kTries = 100;
  for (int tries = 0; tries < kTries; ++tries) {
    File file = File::create_or_open(path);
    if (!file.try_lock()) return std::nullopt;
    if (file.is_at(path)) return FileLock(std::move(file));
    file.unlock();
  }
  return std::nullopt;
}

bool is_locked(const std::filesystem::path& path) {
  if (!is_there(path)) return false;
  const File file = File::open_for_writing(path);
  if (!file.try_lock()) return true;
  file.unlock();
  return false;
}

}  // namespace mxferry::internal
