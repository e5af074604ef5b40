#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "base/file.h"
#include "flow/borders.h"

namespace mxferry::internal {

// Bytes that a SharedFile may keep in memory, beside those being added.
inline constexpr std::uint64_t kMostKeptBytes = std::uint64_t{4} << 20;

// A file that several processes write, each its own bytes: see borders.h. Thread-safe.
class SharedFile {
 public:
  // Creates the file with this size, or opens one that has it. `borders` is the path of this
  // process's border file, which is created. Throws Error: io_error, file_size_mismatch (a foreign
  // file).
  SharedFile(const std::filesystem::path& path, const std::filesystem::path& borders,
             std::uint64_t size);

  const File& file() const noexcept { return file_; }

  // Each byte is written once. Keeps bytes that do not fill a page until they do; beyond
  // kMostKeptBytes, moves what it keeps to the border file.
  void write(std::uint64_t offset, std::span<const std::byte> bytes);

  // Writes the remaining bytes to the border file. With `sync`, returns when everything is on the
  // disk.
  void finish(bool sync);

 private:
  using Bytes = std::vector<std::byte>;
  using Pieces = std::map<std::uint64_t, Bytes>;  // by offset; none crosses the end of a page

  std::uint64_t page_end(std::uint64_t offset) const noexcept;
  void keep(std::uint64_t offset, std::span<const std::byte> bytes);
  Pieces::iterator merged(Pieces::iterator piece);
  void spill();

  std::uint64_t size_;
  File file_;
  BorderWriter borders_;
  std::mutex keeping_;  // guards borders_ and the members below
  Pieces pieces_;
  std::uint64_t kept_ = 0;  // bytes
};

}  // namespace mxferry::internal
