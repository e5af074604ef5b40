// Preloaded into the command: lets one call of the system fail, or stops or kills the process
// there, or lets all calls do less than they were asked for, and records what was called. Only
// calls on files under FAULTS_ROOT count; a path that is not absolute is taken for one under it.
//
//   FAULTS_AT=N     the Nth call fails, with one of the errors that it may have
//   FAULTS_STOP_AT=N  the process stops before its Nth step, by SIGSTOP, until it is continued. A
//                     step is a call after which another process may see something else, or see
//                     it otherwise: closing and fstat are none, of a row of writes to one file the
//                     first is one
//   FAULTS_KILL_AT=N  the process is killed before the Nth call
//   FAULTS_NEW=N    the Nth allocation fails, counted from the first such call on
//   FAULTS_SHORT=1  reads and writes transfer a part, every other call is interrupted first
//   FAULTS_HURRY=1  sleeping takes no time: what tries again and again does so at once
//   FAULTS_LIMIT=S  the process ends by SIGALRM after S seconds
//   FAULTS_LOG=FILE every call is a line there: its name ("create" for an opening that creates),
//                   the path, a second path, and the number of the step or 0
//   FAULTS_COUNT=FILE  gets the number of calls, of allocations and of steps at the end

#include "faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

std::atomic<long> faults::calls = 0;
std::atomic<long> faults::allocations = 0;

long faults::number_in(const char* variable) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? 0 : std::atol(value);
}

namespace {

using faults::allocations;
using faults::calls;
using faults::number_in;

std::atomic<long> steps = 0;

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// What the function of that name in the C library gives.
template <typename Result, typename... Arguments>
Result go_on(const char* name, Arguments... arguments) {
  return real<Result(Arguments...)>(name)(arguments...);
}

bool is_watched(const char* path) {
  static const char* const root = std::getenv("FAULTS_ROOT");
  return root != nullptr && path != nullptr &&
         (path[0] != '/' || std::strncmp(path, root, std::strlen(root)) == 0);
}

void log(const char* name, const char* path, const char* second, long step) {
  static const char* const file = std::getenv("FAULTS_LOG");
  if (file == nullptr) return;
  char line[2 * PATH_MAX + 64];
  const int length =
      std::snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\n", name, path, second, step);
  static const int descriptor =
      real<int(const char*, int, ...)>("open")(file, O_WRONLY | O_CREAT | O_APPEND, 0600);
  (void)!real<ssize_t(int, const void*, std::size_t)>("write")(descriptor, line,
                                                               static_cast<std::size_t>(length));
}

bool is_step(const char* name, const char* path) {
  static std::atomic<std::size_t> last_written = 0;
  if (std::strcmp(name, "close") == 0 || std::strcmp(name, "fstat") == 0) return false;
  const bool writes = std::strcmp(name, "pwrite") == 0;
  const std::size_t written = writes ? std::hash<std::string_view>()(path) : 0;
  return last_written.exchange(written) != written || !writes;
}

// Whether this call is to fail; sets errno. `errors` ends with 0.
bool fails(const char* name, const char* path, std::initializer_list<int> errors,
           const char* second = "") {
  if (!is_watched(path)) return false;
  const long step = is_step(name, path) ? ++steps : 0;
  log(name, path, second, step);
  static const long chosen = number_in("FAULTS_AT");
  static const long stopping = number_in("FAULTS_STOP_AT");
  static const long killing = number_in("FAULTS_KILL_AT");
  const long call = ++calls;
  if (step > 0 && step == stopping) (void)std::raise(SIGSTOP);
  if (call == killing) (void)std::raise(SIGKILL);
  if (call != chosen) return false;
  errno = errors.begin()[static_cast<std::size_t>(call) % errors.size()];
  std::fprintf(stderr, "FAULT %s %s: %s\n", name, path, std::strerror(errno));
  return true;
}

std::string path_of(int descriptor) {
  char path[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length =
      real<ssize_t(const char*, char*, std::size_t)>("readlink")(link.c_str(), path, sizeof path);
  return {path, static_cast<std::size_t>(length < 0 ? 0 : length)};
}

bool fails(const char* name, int descriptor, std::initializer_list<int> errors) {
  const std::string path = path_of(descriptor);
  return path.starts_with('/') && fails(name, path.c_str(), errors);
}

// As above, of a path that is relative to an open folder.
bool fails_at(const char* name, int folder, const char* path, std::initializer_list<int> errors,
              const char* second = "") {
  if (path == nullptr || path[0] == '/' || folder == AT_FDCWD) {
    return fails(name, path, errors, second);
  }
  const std::string place = path_of(folder);
  if (path[0] == '\0') return fails(name, place.c_str(), errors, second);
  return fails(name, (place + "/" + path).c_str(), errors, second);
}

// As above, of two paths, of which one may be elsewhere.
bool either_fails(const char* name, int from_folder, const char* from, int to_folder,
                  const char* to, std::initializer_list<int> errors) {
  const bool from_counts = from[0] == '/' || from_folder == AT_FDCWD
                               ? is_watched(from)
                               : is_watched(path_of(from_folder).c_str());
  return from_counts ? fails_at(name, from_folder, from, errors, to)
                     : fails_at(name, to_folder, to, errors, from);
}

// What of a transfer is done at once; 0 where it is interrupted first.
std::size_t shortened(int descriptor, std::size_t size) {
  static const bool wanted = number_in("FAULTS_SHORT") != 0;
  if (!wanted || size < 2 || !is_watched(path_of(descriptor).c_str())) return size;
  static std::atomic<unsigned> turn = 0;
  return turn++ % 2 == 0 ? 0 : size / 3 + 1;
}

struct AtTheBeginning {
  AtTheBeginning() {
    if (const long limit = number_in("FAULTS_LIMIT"); limit > 0) {
      ::alarm(static_cast<unsigned>(limit));
    }
  }
} at_the_beginning;

struct AtTheEnd {
  ~AtTheEnd() {
    const char* const file = std::getenv("FAULTS_COUNT");
    if (file == nullptr) return;
    std::FILE* const stream = std::fopen(file, "w");
    std::fprintf(stream, "%ld %ld %ld\n", calls.load(), allocations.load(), steps.load());
    std::fclose(stream);
  }
} at_the_end;

constexpr std::initializer_list<int> kOpening = {EMFILE, ENOENT, EACCES, EIO, ENFILE};
constexpr std::initializer_list<int> kWriting = {ENOSPC, EDQUOT, EFBIG, EIO};
constexpr std::initializer_list<int> kReading = {EIO};
constexpr std::initializer_list<int> kNaming = {EROFS, EACCES, ENOSPC, EIO, ENOENT};
constexpr std::initializer_list<int> kRemoving = {EROFS, EACCES, EIO};
constexpr std::initializer_list<int> kLooking = {EIO, EACCES};
constexpr std::initializer_list<int> kLocking = {ENOLCK, EIO};

constexpr std::initializer_list<int> kLockCommands = {F_GETLK,     F_SETLK,     F_SETLKW,
                                                      F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW};

int control(const char* name, int descriptor, int command, void* argument) {
  const bool locks = std::ranges::find(kLockCommands, command) != kLockCommands.end();
  if (locks && fails(name, descriptor, kLocking)) return -1;
  return real<int(int, int, ...)>(name)(descriptor, command, argument);
}

// Of a read or write of one piece of memory.
template <typename Buffer, typename... Offset>
ssize_t transfer(const char* name, std::initializer_list<int> errors, int descriptor,
                 Buffer* buffer, std::size_t size, Offset... offset) {
  if (fails(name, descriptor, errors)) return -1;
  const std::size_t part = shortened(descriptor, size);
  if (part == 0 && size > 0) return errno = EINTR, -1;
  return go_on<ssize_t>(name, descriptor, buffer, part, offset...);
}

const char* name_of_opening(int flags) {
  return (flags & (O_CREAT | O_TRUNC)) != 0 ? "create" : "open";
}

bool hurries() {
  static const bool wanted = number_in("FAULTS_HURRY") != 0;
  return wanted;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  std::va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  if (fails(name_of_opening(flags), path, kOpening)) return -1;
  return real<int(const char*, int, ...)>("open")(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  std::va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  return open(path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  std::va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  if (fails_at(name_of_opening(flags), folder, path, kOpening)) return -1;
  return real<int(int, const char*, int, ...)>("openat")(folder, path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) {
  std::va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  return openat(folder, path, flags, mode);
}
int close(int descriptor) {
  const bool failed = fails("close", descriptor, {EIO});
  const int error = errno;
  const int result = go_on<int>("close", descriptor);
  return failed ? (errno = error, -1) : result;
}
FILE* fopen(const char* path, const char* mode) {
  if (fails("fopen", path, kOpening)) return nullptr;
  return go_on<FILE*>("fopen", path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  return fopen(path, mode);
}
ssize_t read(int descriptor, void* buffer, std::size_t size) {
  return transfer("read", kReading, descriptor, buffer, size);
}
ssize_t write(int descriptor, const void* buffer, std::size_t size) {
  return transfer("write", kWriting, descriptor, buffer, size);
}
ssize_t pread(int descriptor, void* buffer, std::size_t size, off_t offset) {
  return transfer("pread", kReading, descriptor, buffer, size, offset);
}
ssize_t pread64(int descriptor, void* buffer, std::size_t size, off_t offset) {
  return pread(descriptor, buffer, size, offset);
}
ssize_t pwrite(int descriptor, const void* buffer, std::size_t size, off_t offset) {
  return transfer("pwrite", kWriting, descriptor, buffer, size, offset);
}
ssize_t pwrite64(int descriptor, const void* buffer, std::size_t size, off_t offset) {
  return pwrite(descriptor, buffer, size, offset);
}
ssize_t preadv(int descriptor, const iovec* places, int count, off_t offset) {
  if (fails("preadv", descriptor, kReading)) return -1;
  return go_on<ssize_t>("preadv", descriptor, places, count, offset);
}
ssize_t preadv64(int descriptor, const iovec* places, int count, off_t offset) {
  return preadv(descriptor, places, count, offset);
}
ssize_t pwritev(int descriptor, const iovec* places, int count, off_t offset) {
  if (fails("pwritev", descriptor, kWriting)) return -1;
  return go_on<ssize_t>("pwritev", descriptor, places, count, offset);
}
ssize_t pwritev64(int descriptor, const iovec* places, int count, off_t offset) {
  return pwritev(descriptor, places, count, offset);
}
ssize_t copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset,
                        std::size_t size, unsigned flags) {
  if (fails("copy_file_range", to, kWriting)) return -1;
  return go_on<ssize_t>("copy_file_range", from, from_offset, to, to_offset, size, flags);
}
ssize_t sendfile(int to, int from, off_t* offset, std::size_t size) {
  if (fails("sendfile", to, kWriting)) return -1;
  return go_on<ssize_t>("sendfile", to, from, offset, size);
}
ssize_t sendfile64(int to, int from, off64_t* offset, std::size_t size) {
  return sendfile(to, from, offset, size);
}
int fsync(int descriptor) {
  if (fails("fsync", descriptor, {EIO, ENOSPC})) return -1;
  return go_on<int>("fsync", descriptor);
}
int fdatasync(int descriptor) {
  if (fails("fdatasync", descriptor, {EIO, ENOSPC})) return -1;
  return go_on<int>("fdatasync", descriptor);
}
int ftruncate(int descriptor, off_t size) {
  if (fails("ftruncate", descriptor, kWriting)) return -1;
  return go_on<int>("ftruncate", descriptor, size);
}
int ftruncate64(int descriptor, off_t size) {
  return ftruncate(descriptor, size);
}
int truncate(const char* path, off_t size) {
  if (fails("truncate", path, kWriting)) return -1;
  return go_on<int>("truncate", path, size);
}
int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  if (fails("fallocate", descriptor, kWriting)) return -1;
  return go_on<int>("fallocate", descriptor, mode, offset, size);
}
int fallocate64(int descriptor, int mode, off_t offset, off_t size) {
  return fallocate(descriptor, mode, offset, size);
}
int flock(int descriptor, int operation) {
  if (fails("flock", descriptor, kLocking)) return -1;
  return go_on<int>("flock", descriptor, operation);
}
int fcntl(int descriptor, int command, ...) {
  std::va_list list;
  va_start(list, command);
  void* const argument = va_arg(list, void*);
  va_end(list);
  return control("fcntl", descriptor, command, argument);
}
int fcntl64(int descriptor, int command, ...) {
  std::va_list list;
  va_start(list, command);
  void* const argument = va_arg(list, void*);
  va_end(list);
  return control("fcntl64", descriptor, command, argument);
}
int rename(const char* from, const char* to) {
  if (either_fails("rename", AT_FDCWD, from, AT_FDCWD, to, kNaming)) return -1;
  return go_on<int>("rename", from, to);
}
int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  if (either_fails("renameat", from_folder, from, to_folder, to, kNaming)) return -1;
  return go_on<int>("renameat", from_folder, from, to_folder, to);
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  if (either_fails("renameat2", from_folder, from, to_folder, to, kNaming)) return -1;
  return go_on<int>("renameat2", from_folder, from, to_folder, to, flags);
}
int link(const char* from, const char* to) {
  if (either_fails("link", AT_FDCWD, from, AT_FDCWD, to, kNaming)) return -1;
  return go_on<int>("link", from, to);
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  if (either_fails("linkat", from_folder, from, to_folder, to, kNaming)) return -1;
  return go_on<int>("linkat", from_folder, from, to_folder, to, flags);
}
int symlink(const char* target, const char* path) {
  if (fails("symlink", path, kNaming)) return -1;
  return go_on<int>("symlink", target, path);
}
int symlinkat(const char* target, int folder, const char* path) {
  if (fails_at("symlinkat", folder, path, kNaming)) return -1;
  return go_on<int>("symlinkat", target, folder, path);
}
int unlink(const char* path) {
  if (fails("unlink", path, kRemoving)) return -1;
  return go_on<int>("unlink", path);
}
int unlinkat(int folder, const char* path, int flags) {
  if (fails_at("unlinkat", folder, path, kRemoving)) return -1;
  return go_on<int>("unlinkat", folder, path, flags);
}
int remove(const char* path) {
  if (fails("remove", path, kRemoving)) return -1;
  return go_on<int>("remove", path);
}
int rmdir(const char* path) {
  if (fails("rmdir", path, kRemoving)) return -1;
  return go_on<int>("rmdir", path);
}
int mkdir(const char* path, mode_t mode) {
  if (fails("mkdir", path, kNaming)) return -1;
  return go_on<int>("mkdir", path, mode);
}
int mkdirat(int folder, const char* path, mode_t mode) {
  if (fails_at("mkdirat", folder, path, kNaming)) return -1;
  return go_on<int>("mkdirat", folder, path, mode);
}
DIR* opendir(const char* path) {
  if (fails("opendir", path, kOpening)) return nullptr;
  return go_on<DIR*>("opendir", path);
}
DIR* fdopendir(int descriptor) {
  if (fails("fdopendir", descriptor, kOpening)) return nullptr;
  return go_on<DIR*>("fdopendir", descriptor);
}
int stat(const char* path, struct stat* status) {
  if (fails("stat", path, kLooking)) return -1;
  return go_on<int>("stat", path, status);
}
int stat64(const char* path, struct stat64* status) {
  if (fails("stat", path, kLooking)) return -1;
  return go_on<int>("stat64", path, status);
}
int lstat(const char* path, struct stat* status) {
  if (fails("lstat", path, kLooking)) return -1;
  return go_on<int>("lstat", path, status);
}
int lstat64(const char* path, struct stat64* status) {
  if (fails("lstat", path, kLooking)) return -1;
  return go_on<int>("lstat64", path, status);
}
int fstat(int descriptor, struct stat* status) {
  if (fails("fstat", descriptor, kReading)) return -1;
  return go_on<int>("fstat", descriptor, status);
}
int fstat64(int descriptor, struct stat64* status) {
  if (fails("fstat", descriptor, kReading)) return -1;
  return go_on<int>("fstat64", descriptor, status);
}
int fstatat(int folder, const char* path, struct stat* status, int flags) {
  if (fails_at("fstatat", folder, path, kLooking)) return -1;
  return go_on<int>("fstatat", folder, path, status, flags);
}
int fstatat64(int folder, const char* path, struct stat64* status, int flags) {
  if (fails_at("fstatat", folder, path, kLooking)) return -1;
  return go_on<int>("fstatat64", folder, path, status, flags);
}
int statx(int folder, const char* path, int flags, unsigned mask, struct statx* status) {
  if (fails_at("statx", folder, path, kLooking)) return -1;
  return go_on<int>("statx", folder, path, flags, mask, status);
}
int statvfs(const char* path, struct statvfs* status) {
  if (fails("statvfs", path, kReading)) return -1;
  return go_on<int>("statvfs", path, status);
}
int access(const char* path, int mode) {
  if (fails("access", path, kLooking)) return -1;
  return go_on<int>("access", path, mode);
}
int faccessat(int folder, const char* path, int mode, int flags) {
  if (fails_at("faccessat", folder, path, kLooking)) return -1;
  return go_on<int>("faccessat", folder, path, mode, flags);
}
ssize_t readlink(const char* path, char* target, std::size_t size) {
  if (fails("readlink", path, kLooking)) return -1;
  return go_on<ssize_t>("readlink", path, target, size);
}
ssize_t readlinkat(int folder, const char* path, char* target, std::size_t size) {
  if (fails_at("readlinkat", folder, path, kLooking)) return -1;
  return go_on<ssize_t>("readlinkat", folder, path, target, size);
}
char* realpath(const char* path, char* resolved) {
  if (fails("realpath", path, kLooking)) return nullptr;
  return go_on<char*>("realpath", path, resolved);
}
int utimensat(int folder, const char* path, const struct timespec times[2], int flags) {
  if (fails_at("utimensat", folder, path, kRemoving)) return -1;
  return go_on<int>("utimensat", folder, path, times, flags);
}
int nanosleep(const timespec* time, timespec* left) {
  return hurries() ? 0 : go_on<int>("nanosleep", time, left);
}
int clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* left) {
  return hurries() ? 0 : go_on<int>("clock_nanosleep", clock, flags, time, left);
}

}  // extern "C"
