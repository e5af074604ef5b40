#include "flow/file_digest.h"

#include <algorithm>

#include "base/read_pieces.h"

namespace mxferry::internal {
namespace {

constexpr std::uint64_t kWindowBytes = std::uint64_t{1} << 20;
// 20 ms of work, so that a stop does not wait for one thread that hashes what all others write.
constexpr std::size_t kMostWindows = 32;

}  // namespace

FileDigest::FileDigest(std::uint64_t size)
    : size_(size), missing_((size + kWindowBytes - 1) / kWindowBytes) {
  for (std::size_t i = 0; i < missing_.size(); ++i) {
    missing_[i] = static_cast<std::uint32_t>(window_end(i) - i * kWindowBytes);
  }
}

std::uint64_t FileDigest::window_end(std::size_t index) const noexcept {
  return std::min((index + 1) * kWindowBytes, size_);
}

void FileDigest::note_written(const File& file, std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t end = offset + size;
  bool completed = false;
  while (offset < end) {
    const std::size_t window = offset / kWindowBytes;
    const auto bytes = static_cast<std::uint32_t>(std::min(window_end(window), end) - offset);
    completed |= missing_[window].fetch_sub(bytes) == bytes;
    offset += bytes;
  }
  if (!completed) return;
  const std::unique_lock lock(hashing_, std::try_to_lock);
  if (!lock) return;
  std::size_t complete = hashed_ / kWindowBytes;
  const std::size_t most = std::min(complete + kMostWindows, missing_.size());
  while (complete < most && missing_[complete] == 0) ++complete;
  hash_windows(file, complete, {});
}

std::string FileDigest::finish(const File& file, const std::stop_token& stop) {
  const std::lock_guard lock(hashing_);
  hash_windows(file, missing_.size(), stop);
  return hash_.digest();
}

void FileDigest::hash_windows(const File& file, std::size_t end, const std::stop_token& stop) {
  if (end == 0) return;
  read_pieces(file, hashed_, window_end(end - 1), stop, [&](std::span<const std::byte> piece) {
    hash_.add(piece);
    hashed_ += piece.size();
  });
}

}  // namespace mxferry::internal
