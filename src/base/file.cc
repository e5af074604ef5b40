#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* operation, int error) {
  throw Error(ErrorCode::io_error, {.problem = std::string("cannot ") + operation + ": " +
                                               std::generic_category().message(error),
                                    .file = path});
}

struct stat stat_of(int descriptor, const std::filesystem::path& path) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) fail(path, "stat", errno);
  return status;
}

void refuse_irregular(const std::filesystem::path& path, const struct stat& status) {
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::not_a_checkpoint, {.problem = "not a regular file", .file = path});
  }
}

int open_retrying(const std::filesystem::path& path, int flags) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

// Linux transfers just under 2 GiB per call at most, to at most 1024 places in memory; with a
// quarter of those a call is just as cheap.
constexpr std::size_t kLargestTransfer = std::size_t{1} << 30;
constexpr std::size_t kMostPlaces = 256;

[[noreturn]] void fail_at_end(const std::filesystem::path& path, std::uint64_t offset,
                              std::size_t missing) {
  throw Error(ErrorCode::file_size_mismatch,
              {.problem = "the file ends too early",
               .file = path,
               .expected = std::to_string(missing) + " more bytes at " + std::to_string(offset),
               .found = "its end",
               .advice = "Was it cut short, or changed while it was read?"});
}

}  // namespace

File::File(int descriptor, std::filesystem::path path) noexcept
    : descriptor_(descriptor), path_(std::move(path)) {}

File File::open_for_reading(const std::filesystem::path& path) {
  struct stat status{};
  // Before opening, because opening can have an effect on a device; and again afterwards, because
  // the name may refer to another file by then.
  if (::stat(path.c_str(), &status) != 0) fail(path, "open", errno);
  refuse_irregular(path, status);
  File file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, "open");
  refuse_irregular(path, stat_of(file.descriptor_, path));
  return file;
}

File File::create(const std::filesystem::path& path) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
  std::filesystem::path copy = path;
  const int descriptor = open_retrying(path, kFlags);
  if (descriptor >= 0) return {descriptor, std::move(copy)};
  if (errno != EEXIST) fail(path, "create", errno);
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0) {
    const bool may_go = S_ISREG(status.st_mode) || S_ISLNK(status.st_mode);
    if (!may_go) fail(path, "create", EEXIST);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(path, "remove", errno);
  }
  return open(path, kFlags, "create");
}

File File::create_or_open(const std::filesystem::path& path) {
  return open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, "create");
}

File File::open_for_writing(const std::filesystem::path& path) {
  return open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, "open for writing");
}

// Takes the path by value before opening: nothing may throw while nothing owns the descriptor.
File File::open(std::filesystem::path path, int flags, const char* operation) {
  const int descriptor = open_retrying(path, flags);
  if (descriptor < 0) fail(path, operation, errno);
  return {descriptor, std::move(path)};
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::uint64_t File::size() const {
  return static_cast<std::uint64_t>(stat_of(descriptor_, path_).st_size);
}

std::int64_t File::modified() const {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const timespec time = stat_of(descriptor_, path_).st_mtim;
  return time.tv_sec * kSecond + time.tv_nsec;
}

std::uint64_t File::allocated() const {
  constexpr std::uint64_t kStatBlock = 512;
  return static_cast<std::uint64_t>(stat_of(descriptor_, path_).st_blocks) * kStatBlock;
}

void File::read(std::uint64_t offset, std::span<std::byte> buffer) const {
  while (!buffer.empty()) {
    const ssize_t count =
        ::pread(descriptor_, buffer.data(), std::min(buffer.size(), kLargestTransfer),
                static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "read", errno);
    if (count == 0) fail_at_end(path_, offset, buffer.size());
    offset += static_cast<std::uint64_t>(count);
    buffer = buffer.subspan(static_cast<std::size_t>(count));
  }
}

void File::read_into(std::uint64_t offset, std::span<const std::span<std::byte>> places) const {
  std::array<iovec, kMostPlaces> vectors{};
  std::size_t filled = 0;  // bytes of the first place
  while (true) {
    while (!places.empty() && filled == places[0].size()) {
      places = places.subspan(1);
      filled = 0;
    }
    if (places.empty()) return;
    const std::size_t used = std::min(places.size(), vectors.size());
    for (std::size_t i = 0; i < used; ++i) {
      const std::span<std::byte> rest = places[i].subspan(i == 0 ? filled : 0);
      vectors[i] = {rest.data(), rest.size()};
    }
    const ssize_t count =
        ::preadv(descriptor_, vectors.data(), static_cast<int>(used), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "read", errno);
    if (count == 0) fail_at_end(path_, offset, vectors[0].iov_len);
    offset += static_cast<std::uint64_t>(count);
    filled += static_cast<std::size_t>(count);
    while (!places.empty() && filled > places[0].size()) {
      filled -= places[0].size();
      places = places.subspan(1);
    }
  }
}

void File::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), kLargestTransfer),
                 static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "write", errno);
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void File::preallocate(std::uint64_t size) const {
  int result = 0;
  do {
    // Not posix_fallocate, which writes zeros if the file system cannot reserve space.
    result = size == 0 ? 0 : ::fallocate(descriptor_, 0, 0, static_cast<off_t>(size));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
    fail(path_, "reserve disk space", errno);
  set_size(size);
}

void File::set_size(std::uint64_t size) const {
  int result = 0;
  do {
    result = ::ftruncate(descriptor_, static_cast<off_t>(size));
  } while (result != 0 && errno == EINTR);
  if (result != 0) fail(path_, "set the size", errno);
}

void File::start_flush(std::uint64_t offset, std::uint64_t size) const noexcept {
  (void)::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size),
                          SYNC_FILE_RANGE_WRITE);
}

void File::forget_cached() const noexcept {
  (void)::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);
}

bool File::try_lock() const {
  int result = 0;
  do {
    result = ::flock(descriptor_, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  throw Error(ErrorCode::io_error,
              {.problem = "cannot lock: " + std::generic_category().message(errno),
               .file = path_,
               .advice = "A lock keeps two runs from writing to one folder. Mount the file system "
                         "with locks (Lustre: with the option flock), or write to another one"});
}

void File::unlock() const noexcept {
  if (descriptor_ >= 0) (void)::flock(descriptor_, LOCK_UN);
}

bool File::is_at(const std::filesystem::path& path) const noexcept {
  struct stat open{};
  struct stat named{};
  return ::fstat(descriptor_, &open) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

void File::sync() const {
  int result = 0;
  do {
    result = ::fsync(descriptor_);
  } while (result != 0 && errno == EINTR);
  if (result != 0) fail(path_, "sync", errno);
}

namespace {

void refuse_unknown(const std::filesystem::path& path, const std::error_code& error) {
  const bool is_known = !error || error == std::errc::no_such_file_or_directory ||
                        error == std::errc::not_a_directory ||
                        error == std::errc::too_many_symbolic_link_levels ||
                        error == std::errc::filename_too_long;
  if (!is_known) fail(path, "look for it", error.value());
}

std::filesystem::file_status status_of(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  refuse_unknown(path, error);
  return status;
}

}  // namespace

bool is_there(const std::filesystem::path& path) {
  return std::filesystem::exists(status_of(path));
}

bool is_file(const std::filesystem::path& path) {
  return std::filesystem::is_regular_file(status_of(path));
}

bool is_folder(const std::filesystem::path& path) {
  return std::filesystem::is_directory(status_of(path));
}

std::filesystem::file_status link_status(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::symlink_status(path, error);
  refuse_unknown(path, error);
  return status;
}

bool is_real_folder(const std::filesystem::path& path) {
  return std::filesystem::is_directory(link_status(path));
}

std::filesystem::path partial_name(const std::filesystem::path& path) {
  // Not replace_filename(): if memory runs out in libstdc++'s, the process crashes.
  std::string text = path.native();
  const std::size_t begin = text.rfind('/') + 1;
  text.resize(begin + std::min(text.size() - begin, kLongestName - kPartialEnding.size()));
  text += kPartialEnding;
  return text;
}

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(to, "rename", errno);
}

void take_final_name(const std::filesystem::path& path, bool sync) {
  rename_file(partial_name(path), path);
  if (sync) sync_folder(path.parent_path());
}

AtomicFile::AtomicFile(std::filesystem::path path, bool sync)
    : path_(std::move(path)), sync_(sync), file_(File::create(partial_name(path_))) {}

AtomicFile::~AtomicFile() {
  if (removes_) ::unlink(file_.path().c_str());
}

void AtomicFile::commit() {
  if (sync_) file_.sync();
  take_final_name(path_, false);
  removes_ = false;
}

void sync_folder(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder.empty() ? "." : folder;
  const int descriptor = open_retrying(path, O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) fail(path, "open", errno);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some network file systems cannot sync a folder; they order names themselves.
  if (result != 0 && error != EINVAL && error != ENOTSUP) fail(path, "sync", error);
}

std::vector<std::string> list_folder(const std::filesystem::path& folder) {
  // Not std::filesystem's iterator: libstdc++'s terminates the process when memory runs out.
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), &::closedir);
  if (!open) fail(folder, "list", errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(open.get());
    if (entry == nullptr && errno != 0) fail(folder, "list", errno);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(path, "remove", errno);
}

void remove_folder(const std::filesystem::path& folder) {
  if (!is_real_folder(folder)) return remove_file(folder);
  for (const std::string& name : list_folder(folder)) {
    remove_folder(folder / name);
  }
  if (::rmdir(folder.c_str()) != 0 && errno != ENOENT) fail(folder, "remove", errno);
}

std::uint64_t allocated_below(const std::filesystem::path& folder) {
  constexpr std::uint64_t kStatBlock = 512;
  std::uint64_t bytes = 0;
  for (const std::string& name : list_folder(folder)) {
    const std::filesystem::path path = folder / name;
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) continue;  // removed meanwhile
    if (S_ISREG(status.st_mode)) bytes += static_cast<std::uint64_t>(status.st_blocks) * kStatBlock;
    if (S_ISDIR(status.st_mode)) bytes += allocated_below(path);
  }
  return bytes;
}

std::uint64_t free_bytes(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path existing = std::filesystem::absolute(path, error);
  while (!std::filesystem::exists(existing, error) && existing.has_relative_path())
    existing = existing.parent_path();
  const std::filesystem::space_info space = std::filesystem::space(existing, error);
  if (error) fail(existing, "read the free disk space", error.value());
  return space.available;
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit) {
  const File file = File::open_for_reading(path);
  const std::uint64_t size = file.size();
  if (size > limit) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the file is too large for what it should be",
                 .file = path,
                 .expected = "at most " + std::to_string(limit) + " bytes",
                 .found = std::to_string(size)});
  }
  std::string text(size, '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void write_text_file(const std::filesystem::path& path, std::string_view text, bool sync) {
  AtomicFile file(path, sync);
  file.file().write(0, std::as_bytes(std::span(text)));
  file.commit();
  if (sync) sync_folder(path.parent_path());
}

}  // namespace mxferry::internal
