#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mxferry::internal {

// Owns the descriptor of a regular file. Move-only. Thread-safe except for open and close:
// transfers are positional. Every failure is Error(io_error) with the path, the operation and the
// system's reason. Retries short transfers and EINTR.
class File {
 public:
  // Refuses anything but a regular file, with Error(not_a_checkpoint), without blocking on a FIFO
  // or touching a device.
  static File open_for_reading(const std::filesystem::path& path);
  // Creates a new file. First removes any file or link of that name, so that nothing is written
  // through a symbolic or hard link.
  static File create(const std::filesystem::path& path);
  // Creates the file, or opens it without changing it. A symbolic link is Error(io_error).
  static File create_or_open(const std::filesystem::path& path);
  // Opens the file without changing it. A missing file or a symbolic link is Error(io_error).
  static File open_for_writing(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  const std::filesystem::path& path() const noexcept { return path_; }
  std::uint64_t size() const;

  // Reads exactly buffer.size() bytes at offset; a file that ends earlier is
  // Error(file_size_mismatch).
  void read(std::uint64_t offset, std::span<std::byte> buffer) const;
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const;
  // Like read(), but scatters the bytes to several places in memory, in this order.
  void read_into(std::uint64_t offset, std::span<const std::span<std::byte>> places) const;

  // Sets the size, and reserves disk space if the file system can.
  void preallocate(std::uint64_t size) const;
  void set_size(std::uint64_t size) const;
  // Time of the last change of content, in nanoseconds since 1970.
  std::int64_t modified() const;
  // Bytes that the file occupies on disk.
  std::uint64_t allocated() const;
  // Starts writing the range back to disk and returns at once; only a hint.
  void start_flush(std::uint64_t offset, std::uint64_t size) const noexcept;
  // Returns once data and size are on disk.
  void sync() const;
  // Takes an exclusive lock, or returns false if another open file holds it: see FileLock. Throws
  // Error(io_error) if the file system has no locks.
  bool try_lock() const;
  // Releases the lock, which a forked process would otherwise keep.
  void unlock() const noexcept;
  // Whether `path` still names this file.
  bool is_at(const std::filesystem::path& path) const noexcept;
  // Drops the file's clean pages from the system's cache, so that they are next read from disk.
  // Only a hint.
  void forget_cached() const noexcept;

 private:
  File(int descriptor, std::filesystem::path path) noexcept;
  static File open(std::filesystem::path path, int flags, const char* operation);

  int descriptor_ = -1;
  std::filesystem::path path_;
};

// Whether the path leads to something, a regular file, or a folder, following links. A dangling
// link leads to nothing. If the system cannot tell, throws Error(io_error) instead of returning
// false.
bool is_there(const std::filesystem::path& path);
bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);
// The status of the path, not following links; Error(io_error) as above.
std::filesystem::file_status link_status(const std::filesystem::path& path);
// Whether the path is a folder itself, not a link to one; Error(io_error) as above.
bool is_real_folder(const std::filesystem::path& path);

// The name of an unfinished file: NAME.partial, with NAME cut to the longest name allowed.
inline constexpr std::string_view kPartialEnding = ".partial";
inline constexpr std::size_t kLongestName = 255;  // bytes, NAME_MAX of Linux's file systems
std::filesystem::path partial_name(const std::filesystem::path& path);

// Gives an unfinished file its final name. With `sync`, returns once the name is on disk.
void take_final_name(const std::filesystem::path& path, bool sync);

// Renames a file, replacing any file at `to`. Error(io_error).
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

// A file that gets its final name only when complete: written as NAME.partial beside it and renamed
// by commit(). If destroyed before commit(), it removes the partial file.
class AtomicFile {
 public:
  // With `sync`, commit() waits until the data is on disk before it renames the file. The name
  // itself is on disk only after sync_folder().
  AtomicFile(std::filesystem::path path, bool sync);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  const File& file() const noexcept { return file_; }
  void commit();

 private:
  std::filesystem::path path_;
  bool sync_;
  bool removes_ = true;
  File file_;
};

// Returns once the names in the folder are on disk.
void sync_folder(const std::filesystem::path& folder);

// The names of everything in the folder, sorted. Error(io_error).
std::vector<std::string> list_folder(const std::filesystem::path& folder);

// Removes a file, if it exists. Error(io_error).
void remove_file(const std::filesystem::path& path);

// Removes a folder and everything in it, or a file; does not follow links. Error(io_error).
void remove_folder(const std::filesystem::path& folder);

// Bytes that the regular files in a folder and its subfolders occupy on disk.
std::uint64_t allocated_below(const std::filesystem::path& folder);

// Bytes available to this user on the file system of the path, or of its nearest existing parent.
std::uint64_t free_bytes(const std::filesystem::path& path);

// The whole content of a small text file. Throws Error(invalid_argument) with the file's name if it
// exceeds `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit);

// Writes a small file through AtomicFile. With `sync`, returns once it and its name are on disk.
void write_text_file(const std::filesystem::path& path, std::string_view text, bool sync);

}  // namespace mxferry::internal
