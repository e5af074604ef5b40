// Preloaded into the command: lets one call of the system fail, or all of them do less than they
// were asked for, and records what was called. Only calls on files under FAULTS_ROOT count.
//
//   FAULTS_AT=N     the Nth call fails, with one of the errors that it may have
//   FAULTS_NEW=N    the Nth allocation fails, counted from the first such call on
//   FAULTS_SHORT=1  reads and writes transfer a part, every other call is interrupted first
//   FAULTS_LOG=FILE every call is a line there: its name, the path, a second path
//   FAULTS_COUNT=FILE  gets the number of calls and of allocations at the end

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <string>

namespace {

std::atomic<long> calls = 0;
std::atomic<long> allocations = 0;

long number_in(const char* variable) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? 0 : std::atol(value);
}

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

bool is_watched(const char* path) {
  static const char* const root = std::getenv("FAULTS_ROOT");
  return root != nullptr && path != nullptr &&
         (path[0] != '/' || std::strncmp(path, root, std::strlen(root)) == 0);
}

void log(const char* name, const char* path, const char* second) {
  static const char* const file = std::getenv("FAULTS_LOG");
  if (file == nullptr) return;
  char line[2 * PATH_MAX + 64];
  const int length = std::snprintf(line, sizeof line, "%s\t%s\t%s\n", name, path, second);
  static const int descriptor =
      real<int(const char*, int, ...)>("open")(file, O_WRONLY | O_CREAT | O_APPEND, 0600);
  (void)!::write(descriptor, line, static_cast<std::size_t>(length));
}

// Whether this call is to fail; sets errno. `errors` ends with 0.
bool fails(const char* name, const char* path, std::initializer_list<int> errors,
           const char* second = "") {
  if (!is_watched(path)) return false;
  log(name, path, second);
  static const long chosen = number_in("FAULTS_AT");
  const long call = ++calls;
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

// What of a transfer is done at once; 0 where it is interrupted first.
std::size_t shortened(int descriptor, std::size_t size) {
  static const bool wanted = number_in("FAULTS_SHORT") != 0;
  if (!wanted || size < 2 || !is_watched(path_of(descriptor).c_str())) return size;
  static std::atomic<unsigned> turn = 0;
  return turn++ % 2 == 0 ? 0 : size / 3 + 1;
}

struct AtTheEnd {
  ~AtTheEnd() {
    const char* const file = std::getenv("FAULTS_COUNT");
    if (file == nullptr) return;
    std::FILE* const stream = std::fopen(file, "w");
    std::fprintf(stream, "%ld %ld\n", calls.load(), allocations.load());
    std::fclose(stream);
  }
} at_the_end;

constexpr std::initializer_list<int> kOpening = {EMFILE, ENOENT, EACCES, EIO, ENFILE};
constexpr std::initializer_list<int> kWriting = {ENOSPC, EDQUOT, EFBIG, EIO};
constexpr std::initializer_list<int> kReading = {EIO};
constexpr std::initializer_list<int> kNaming = {EROFS, EACCES, ENOSPC, EIO, ENOENT};

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  std::va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  if (fails("open", path, kOpening)) return -1;
  return real<int(const char*, int, ...)>("open")(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  std::va_list list;
  va_start(list, flags);
  const mode_t mode = va_arg(list, mode_t);
  va_end(list);
  if (fails("open", path, kOpening)) return -1;
  return real<int(const char*, int, ...)>("open64")(path, flags, mode);
}
ssize_t pread(int descriptor, void* buffer, std::size_t size, off_t offset) {
  if (fails("pread", descriptor, kReading)) return -1;
  const std::size_t part = shortened(descriptor, size);
  if (part == 0 && size > 0) return errno = EINTR, -1;
  return real<ssize_t(int, void*, std::size_t, off_t)>("pread")(descriptor, buffer, part, offset);
}
ssize_t pread64(int descriptor, void* buffer, std::size_t size, off_t offset) {
  return pread(descriptor, buffer, size, offset);
}
ssize_t pwrite(int descriptor, const void* buffer, std::size_t size, off_t offset) {
  if (fails("pwrite", descriptor, kWriting)) return -1;
  const std::size_t part = shortened(descriptor, size);
  if (part == 0 && size > 0) return errno = EINTR, -1;
  return real<ssize_t(int, const void*, std::size_t, off_t)>("pwrite")(descriptor, buffer, part,
                                                                       offset);
}
ssize_t pwrite64(int descriptor, const void* buffer, std::size_t size, off_t offset) {
  return pwrite(descriptor, buffer, size, offset);
}
int fsync(int descriptor) {
  if (fails("fsync", descriptor, {EIO, ENOSPC})) return -1;
  return real<int(int)>("fsync")(descriptor);
}
int ftruncate(int descriptor, off_t size) {
  if (fails("ftruncate", descriptor, kWriting)) return -1;
  return real<int(int, off_t)>("ftruncate")(descriptor, size);
}
int ftruncate64(int descriptor, off_t size) {
  return ftruncate(descriptor, size);
}
int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  if (fails("fallocate", descriptor, kWriting)) return -1;
  return real<int(int, int, off_t, off_t)>("fallocate")(descriptor, mode, offset, size);
}
int fallocate64(int descriptor, int mode, off_t offset, off_t size) {
  return fallocate(descriptor, mode, offset, size);
}
int flock(int descriptor, int operation) {
  if (fails("flock", descriptor, {ENOLCK, EIO})) return -1;
  return real<int(int, int)>("flock")(descriptor, operation);
}
int rename(const char* from, const char* to) {
  if (fails("rename", from, kNaming, to)) return -1;
  return real<int(const char*, const char*)>("rename")(from, to);
}
int unlink(const char* path) {
  if (fails("unlink", path, {EROFS, EACCES, EIO})) return -1;
  return real<int(const char*)>("unlink")(path);
}
int remove(const char* path) {
  if (fails("remove", path, {EROFS, EACCES, EIO})) return -1;
  return real<int(const char*)>("remove")(path);
}
int mkdir(const char* path, mode_t mode) {
  if (fails("mkdir", path, kNaming)) return -1;
  return real<int(const char*, mode_t)>("mkdir")(path, mode);
}
DIR* opendir(const char* path) {
  if (fails("opendir", path, kOpening)) return nullptr;
  return real<DIR*(const char*)>("opendir")(path);
}
int stat(const char* path, struct stat* status) {
  if (fails("stat", path, {EIO, EACCES})) return -1;
  return real<int(const char*, struct stat*)>("stat")(path, status);
}
int stat64(const char* path, struct stat64* status) {
  if (fails("stat", path, {EIO, EACCES})) return -1;
  return real<int(const char*, struct stat64*)>("stat64")(path, status);
}
int fstat(int descriptor, struct stat* status) {
  if (fails("fstat", descriptor, kReading)) return -1;
  return real<int(int, struct stat*)>("fstat")(descriptor, status);
}
int fstat64(int descriptor, struct stat64* status) {
  if (fails("fstat", descriptor, kReading)) return -1;
  return real<int(int, struct stat64*)>("fstat64")(descriptor, status);
}
int statvfs(const char* path, struct statvfs* status) {
  if (fails("statvfs", path, kReading)) return -1;
  return real<int(const char*, struct statvfs*)>("statvfs")(path, status);
}

}  // extern "C"

namespace {

void* allocate(std::size_t size, std::size_t alignment) {
  static const long chosen = number_in("FAULTS_NEW");
  if (calls > 0 && ++allocations == chosen) {
    std::fprintf(stderr, "FAULT new\n");
    throw std::bad_alloc();
  }
  void* memory = nullptr;
  if (::posix_memalign(&memory, alignment, size == 0 ? 1 : size) != 0) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
