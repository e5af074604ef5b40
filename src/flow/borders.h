#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/file.h"

namespace mxferry::internal {

// Network file systems cache and send whole pages: when two machines write different bytes of one
// page, each may undo the other's write. So each page of a file that several processes write has
// one writer. A process writes the pages that it fills to the file, and its bytes of other pages to
// its border file; one process copies all border files into place after every process is done. The
// page is the largest that Linux has.
inline constexpr std::uint64_t kBorderPage = std::uint64_t{64} << 10;

// A border file is a sequence of entries: this head, then its bytes.
struct BorderHead {
  std::uint64_t offset = 0;  // in the shared file
  std::uint64_t size = 0;    // bytes that follow
};

// Appends entries to a border file.
class BorderWriter {
 public:
  // Creates the file, replacing one that an earlier run left.
  explicit BorderWriter(const std::filesystem::path& path);

  void add(std::uint64_t offset, std::span<const std::byte> bytes);
  void sync() const { file_.sync(); }

 private:
  File file_;
  std::uint64_t end_ = 0;
};

// The entries of a border file.
class Borders {
 public:
  // Throws Error: io_error, file_size_mismatch (the border file is cut short, or an entry exceeds a
  // shared file of `size` bytes).
  Borders(const std::filesystem::path& path, std::uint64_t size);

  // Writes the entries to the shared file.
  void apply(const File& file) const;
  // Overwrites `bytes`, read from the shared file at `offset`, with what the entries hold of them.
  void overlay(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  struct Piece {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint64_t place = 0;  // in the border file
  };

  File file_;
  std::vector<Piece> pieces_;  // by offset; they do not overlap
};

}  // namespace mxferry::internal
