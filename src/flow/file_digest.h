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

// SHA-256 of a file while it is being written, in any order, by several threads. Who writes also
// hashes what has come to lie behind no gap, as it is in the file: from the page cache, as a rule.
// Thread-safe.
class FileDigest {
 public:
  explicit FileDigest(std::uint64_t size);

  // Tells that bytes [offset, offset + size) are written; every byte once. Hashes, unless another
  // thread does, for no longer than some milliseconds.
  void note_written(const File& file, std::uint64_t offset, std::uint64_t size);

  // The digest in hexadecimal, when everything is written. Throws what File::read() throws, and
  // Error(cancelled) on request.
  std::string finish(const File& file, const std::stop_token& stop);

 private:
  // Where a window ends in the file.
  std::uint64_t window_end(std::size_t index) const noexcept;
  void hash_windows(const File& file, std::size_t end, const std::stop_token& stop);

  std::uint64_t size_;
  std::vector<std::atomic<std::uint32_t>> missing_;  // bytes, by window
  std::mutex hashing_;                               // guards what follows
  std::uint64_t hashed_ = 0;                         // bytes
  Sha256 hash_;
};

}  // namespace mxferry::internal
