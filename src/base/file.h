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

// A regular file by its descriptor, which it owns. Move-only. Thread-safe but for open and close:
// transfers are positional. Every failure is Error(io_error) with the path, the operation and the
// system's reason. Short transfers and EINTR are retried.
class File {
 public:
  // Refuses what is not a regular file (Error(not_a_checkpoint)) without blocking on a FIFO or
  // touching a device.
  static File open_for_reading(const std::filesystem::path& path);
  // A new file. Removes a file or link of that name, so that neither a link nor a hard link is
  // written through.
  static File create(const std::filesystem::path& path);
  // Creates the file, or opens it without changing it. A link is Error(io_error).
  static File create_or_open(const std::filesystem::path& path);
  // Opens the file without changing it. One that is missing, or a link, is Error(io_error).
  static File open_for_writing(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  const std::filesystem::path& path() const noexcept { return path_; }
  std::uint64_t size() const;

  // Exactly buffer.size() bytes at offset; a file that ends before that is
  // Error(file_size_mismatch).
  void read(std::uint64_t offset, std::span<std::byte> buffer) const;
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const;
  // The same as read() for bytes that go to several places of memory, in this order.
  void read_into(std::uint64_t offset, std::span<const std::span<std::byte>> places) const;

  // Reserves disk space and sets the size, where the file system can; otherwise only sets the size.
  void preallocate(std::uint64_t size) const;
  void set_size(std::uint64_t size) const;
  // When its content last changed, in nanoseconds since 1970.
  std::int64_t modified() const;
  // Bytes of the disk that the file takes.
  std::uint64_t allocated() const;
  // Starts writing the range back to the disk and returns at once; only a hint.
  void start_flush(std::uint64_t offset, std::uint64_t size) const noexcept;
  // Returns when data and size are on the disk.
  void sync() const;
  // Takes an exclusive lock, or returns false where another open file has it: see FileLock. Throws
  // Error(io_error) where the file system has no locks.
  bool try_lock() const;
  // Releases the lock, which a forked process would hold otherwise.
  void unlock() const noexcept;
  // Whether this is still the file of that name.
  bool is_at(const std::filesystem::path& path) const noexcept;
  // Lets go of the pages that the system keeps of the file, as far as they are on the disk: what is
  // read next comes from there. Only a hint.
  void forget_cached() const noexcept;

 private:
  File(int descriptor, std::filesystem::path path) noexcept;
  static File open(std::filesystem::path path, int flags, const char* operation);

  int descriptor_ = -1;
  std::filesystem::path path_;
};

// Whether something, a regular file or a folder is there, links followed. A link that leads nowhere
// is not; where the system does not tell, that is Error(io_error), not a no.
bool is_there(const std::filesystem::path& path);
bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);
// What is there, links not followed; Error(io_error) as above.
std::filesystem::file_status link_status(const std::filesystem::path& path);
// Whether a folder is there, and no link to one; Error(io_error) as above.
bool is_real_folder(const std::filesystem::path& path);

// The name of an unfinished file: NAME.partial, NAME cut to what a name may have.
inline constexpr std::string_view kPartialEnding = ".partial";
inline constexpr std::size_t kLongestName = 255;  // bytes, NAME_MAX of Linux's file systems
std::filesystem::path partial_name(std::filesystem::path path);

// Gives an unfinished file its final name. `sync`: and returns when the name is on the disk.
void take_final_name(const std::filesystem::path& path, bool sync);

// Renames a file, over another one if there is one of that name. Error(io_error).
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

// A file that has its final name only when it is complete: written as NAME.partial beside it, and
// renamed by commit(). Destroyed before that, it removes the partial file.
class AtomicFile {
 public:
  // `sync`: commit() waits until the data is on the disk before the file gets its name. The name is
  // on the disk after sync_folder().
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

// Returns when the names in the folder are on the disk.
void sync_folder(const std::filesystem::path& folder);

// The names of everything in the folder, sorted. Error(io_error).
std::vector<std::string> list_folder(const std::filesystem::path& folder);

// Removes a file, if it is there. Error(io_error).
void remove_file(const std::filesystem::path& path);

// Removes a folder with everything in it, or a file; links are not followed. Error(io_error).
void remove_folder(const std::filesystem::path& folder);

// Bytes of the disk that the regular files in a folder, and in those below, take.
std::uint64_t allocated_below(const std::filesystem::path& folder);

// Bytes free for this user on the file system of the path, or of its nearest parent that exists.
std::uint64_t free_bytes(const std::filesystem::path& path);

// The whole content of a small text file. Error(invalid_argument) names the file when it exceeds
// `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit);

// Writes a small file through AtomicFile. `sync`: returns when it and its name are on the disk.
void write_text_file(const std::filesystem::path& path, std::string_view text, bool sync);

}  // namespace mxferry::internal
