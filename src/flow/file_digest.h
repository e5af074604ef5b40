#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/hash.h"

namespace mxferry::internal {

// SHA-256 of a file while several threads write it in any order. Each writer also hashes the
// contiguous prefix written so far, reading it back from the file: usually from the page cache.
// Thread-safe.
class FileDigest {
 public:
  explicit FileDigest(std::uint64_t size);

  // Records that bytes [offset, offset + size) are written; each byte exactly once. Unless another
  // thread is hashing, hashes for about 20 ms at most. Throws what File::read() throws.
  void note_written(const File& file, std::uint64_t offset, std::uint64_t size);

  // Call after all bytes are written. Returns the digest in hexadecimal. Throws what File::read()
  // throws, and Error(cancelled) on request.
  std::string finish(const File& file, const std::stop_token& stop);

 private:
  // The offset at which a window ends in the file.
  std::uint64_t window_end(std::size_t index) const noexcept;
  void hash_windows(const File& file, std::size_t end, const std::stop_token& stop);

  std::uint64_t size_;
  std::vector<std::atomic<std::uint32_t>> missing_;  // unwritten bytes, by window
  std::mutex hashing_;                               // guards the members below
  std::uint64_t hashed_ = 0;                         // bytes
  Sha256 hash_;
};

}  // namespace mxferry::internal
