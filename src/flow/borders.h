#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/file.h"

namespace mxferry::internal {

// Network file systems keep and send whole pages: of two machines that write to different bytes of
// one page, each may undo what the other wrote. So each page of a file that several processes write
// has one writer. Pages that a process fills are written to the file; what it has of other pages
// goes to its border file, and one process puts all borders in place when everybody is done. The
// page is the largest that Linux has.
inline constexpr std::uint64_t kBorderPage = std::uint64_t{64} << 10;

// A border file is a row of these, each followed by its bytes.
struct BorderHead {
  std::uint64_t offset = 0;  // in the file that it belongs to
  std::uint64_t size = 0;    // bytes that follow
};

// Adds pieces to a border file.
class BorderWriter {
 public:
  // A new file, in the place of one that an earlier run has left.
  explicit BorderWriter(const std::filesystem::path& path);

  void add(std::uint64_t offset, std::span<const std::byte> bytes);
  void sync() const { file_.sync(); }

 private:
  File file_;
  std::uint64_t end_ = 0;
};

// The pieces of a border file.
class Borders {
 public:
  // Throws Error: io_error, file_size_mismatch (it is cut, or leaves a file of `size` bytes).
  Borders(const std::filesystem::path& path, std::uint64_t size);

  // Writes them to the file that they belong to.
  void apply(const File& file) const;
  // Puts what they hold of bytes [offset, offset + bytes.size()) over these.
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
