#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/file.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// A tensor cut along any of its dimensions, with its chunks in several files, read as if it were
// contiguous. Thread-safe.
class ChunkedTensor {
 public:
  // The tensor must have chunks, elements of whole bytes and a checked size.
  explicit ChunkedTensor(const StoredTensor& tensor);

  // Fills the buffer with the tensor's bytes from `offset` on. `files` is indexed by
  // StoredChunk::shard. The bytes that one chunk holds of them are contiguous in its file, and are
  // read straight into place with few system calls.
  void read(const std::vector<File>& files, std::uint64_t offset,
            std::span<std::byte> buffer) const;

 private:
  // A dimension along which the runs of a chunk repeat.
  struct Step {
    std::uint64_t count = 1;
    std::uint64_t bytes = 0;  // from one to the next, in the tensor
  };
  // A chunk as runs of bytes: each is contiguous in the tensor, and all of them together are
  // contiguous in the file.
  struct Runs {
    std::size_t shard = 0;
    std::uint64_t file_offset = 0;
    std::uint64_t first = 0;       // byte in the tensor
    std::uint64_t end = 0;         // one past the last
    std::uint64_t length = 0;      // of a run, in bytes
    std::uint64_t count = 1;       // of runs
    std::vector<Step> steps = {};  // outermost first

    std::uint64_t start(std::uint64_t run) const noexcept;
    // The first run that ends after the offset; `count` if there is none.
    std::uint64_t first_behind(std::uint64_t offset) const noexcept;
  };

  static Runs runs_of(const StoredTensor& tensor, const StoredChunk& chunk);
  static void read_runs(const Runs& runs, const File& file, std::uint64_t offset,
                        std::span<std::byte> buffer);

  std::vector<Runs> chunks_;          // by `first`
  std::vector<std::uint64_t> reach_;  // by chunk: the largest `end` up to it
};

}  // namespace mxferry::internal
