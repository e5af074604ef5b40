#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/file.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// A tensor whose bytes lie in several files, cut along any of its dimensions, read as if it were in
// one piece. Thread-safe.
class ChunkedTensor {
 public:
  // A tensor with chunks, its elements whole bytes, its size checked.
  explicit ChunkedTensor(const StoredTensor& tensor);

  // Fills the buffer with the tensor's bytes from `offset` on. `files` by StoredChunk::shard. What
  // one chunk has of them is one stretch of its file, and goes with few calls of the system
  // straight to where it belongs.
  void read(const std::vector<File>& files, std::uint64_t offset,
            std::span<std::byte> buffer) const;

 private:
  // One dimension along which the runs of a chunk follow each other.
  struct Step {
    std::uint64_t count = 1;
    std::uint64_t bytes = 0;  // in the tensor
  };
  // A chunk as runs of bytes: each without gaps in the tensor, all of them without gaps in the
  // file.
  struct Runs {
    std::size_t shard = 0;
    std::uint64_t file_offset = 0;
    std::uint64_t first = 0;  // of the tensor's bytes
    std::uint64_t end = 0;    // one past the last
    std::uint64_t length = 0;
    std::uint64_t count = 1;
    std::vector<Step> steps = {};  // outermost first

    std::uint64_t start(std::uint64_t run) const noexcept;
    // The first run that ends behind the offset; count where none does.
    std::uint64_t first_behind(std::uint64_t offset) const noexcept;
  };

  static Runs runs_of(const StoredTensor& tensor, const StoredChunk& chunk);
  static void read_runs(const Runs& runs, const File& file, std::uint64_t offset,
                        std::span<std::byte> buffer);

  std::vector<Runs> chunks_;          // by `first`
  std::vector<std::uint64_t> reach_;  // the largest `end` up to each of them
};

}  // namespace mxferry::internal
