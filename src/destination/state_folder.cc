#include "destination/state_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/folder.h"
#include "destination/conversion_record.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kLockName = "lock";
// Bytes; far more than the names and options of a conversion need.
constexpr std::uint64_t kLargestRecord = std::uint64_t{64} << 20;

// The waits between attempts to take a lock: 2 to 50 ms each, about half a minute in total.
class Patience {
 public:
  // Waits; returns false when no attempts are left. Throws Error(cancelled) on request.
  bool wait(const std::stop_token& stop) {
    constexpr int kTries = 600;
    if (stop.stop_requested()) {
      throw Error(ErrorCode::cancelled, {.problem = "stopped on request"});
    }
    if (++tries_ > kTries) return false;
    constexpr std::chrono::milliseconds kLongest(50);
    std::this_thread::sleep_for(std::min(std::chrono::milliseconds(1 + tries_), kLongest));
    return true;
  }

 private:
  int tries_ = 0;
};

[[noreturn]] void fail(const fs::path& path, const char* operation, const std::error_code& error) {
  throw Error(
      ErrorCode::io_error,
      {.problem = std::string("cannot ") + operation + ": " + error.message(), .file = path});
}

// Whether another process has removed the folder since, which create_directory() calls an error if
// it existed a moment before.
bool is_gone(const fs::path& path, const std::error_code& error) {
  return error == std::errc::file_exists && !is_there(path);
}

// Returns false if the folder, or its parent, has been removed meanwhile.
bool make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directory(path, error);
  if (error && error != std::errc::no_such_file_or_directory && !is_gone(path, error)) {
    fail(path, "create the folder", error);
  }
  return !error;
}

Json read_record(const fs::path& work) {
  const fs::path path = work / kRecordName;
  if (!is_file(path)) return {};
  return Json::parse(read_text_file(path, kLargestRecord), nullptr, /*allow_exceptions=*/false);
}

}  // namespace

bool is_work_name(std::string_view name) {
  constexpr std::array<std::string_view, 3> kCommands = {"convert-", "save-", "sample-"};
  return std::ranges::any_of(kCommands, [&](std::string_view command) {
    return name.starts_with(command) && is_hexadecimal(name.substr(command.size()), kWorkDigits);
  });
}

std::string shared_name(int world, const std::string& shard) {
  return fmt::format("{}{:05}.{}", kSharedPrefix, world, shard);
}

fs::path state_folder(const fs::path& destination) {
  return destination / kStateFolder;
}

bool has_state(const fs::path& destination) {
  const fs::file_status status = link_status(state_folder(destination));
  if (fs::is_directory(status)) return true;
  if (!fs::exists(status)) return false;
  throw Error(ErrorCode::invalid_argument, {.problem = "this name is mxferry's own, for a folder",
                                            .file = state_folder(destination),
                                            .found = fs::is_symlink(status) ? "a link" : "a file",
                                            .advice = "Remove it"});
}

std::uint64_t state_bytes(const fs::path& destination) {
  return has_state(destination) ? allocated_below(state_folder(destination)) : 0;
}

bool is_occupied(const fs::path& destination) {
  if (!is_there(destination)) return false;
  if (!is_folder(destination)) return true;
  return std::ranges::any_of(list_folder(destination),
                             [](const std::string& name) { return name != kStateFolder; });
}

DestinationLock::DestinationLock(fs::path folder, const std::stop_token& stop)
    : folder_(std::move(folder)) {
  Patience patience;
  while (!try_take()) {
    if (patience.wait(stop)) continue;
    throw Error(ErrorCode::destination_in_use,
                {.problem = "another process is changing this folder",
                 .file = folder_,
                 .advice = "Wait for it, or give another folder"});
  }
}

bool DestinationLock::try_take() {
  std::error_code error;
  created_ |= fs::create_directories(folder_, error);
  if (is_gone(folder_, error)) return false;
  if (error) {
    throw Error(ErrorCode::io_error,
                {.problem = "cannot create the folder: " + error.message(), .file = folder_});
  }
  const fs::path state = state_folder(folder_);
  if (!has_state(folder_) && !make_folder(state)) return false;
  try {
    lock_ = FileLock::try_take(state / kLockName);
  } catch (const Error&) {
    // The last holder has removed the state folder: try again.
    if (has_state(folder_)) throw;
  }
  return lock_.has_value();
}

DestinationLock::~DestinationLock() {
  if (!lock_) return;
  try {
    const fs::path state = state_folder(folder_);
    if (list_folder(state) != std::vector<std::string>{kLockName}) return;
    std::error_code error;
    fs::remove(state / kLockName, error);
    fs::remove(state, error);
    if (created_ || removes_) fs::remove(folder_, error);  // only if it is empty
  } catch (const std::exception&) {
    return;  // the next holder removes the rest
  }
}

FileLock wait_for_lock(const fs::path& path, const Error& busy, const std::stop_token& stop) {
  Patience patience;
  for (;;) {
    if (std::optional<FileLock> lock = FileLock::try_take(path)) return std::move(*lock);
    if (!patience.wait(stop)) throw busy;
  }
}

bool Work::is_being_finished() const {
  return is_locked(path / kFinishName);
}

bool Work::is_in_use() const {
  return is_being_finished() || std::ranges::any_of(parts, [](const FoundJournal& journal) {
           return is_locked(journal.path);
         });
}

void make_folder_of(const fs::path& folder, const std::string& name) {
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos) return;
  const fs::path path = folder / name.substr(0, slash);
  if (!make_folder(path) || !is_real_folder(path)) {
    fail(path, "create the folder", std::make_error_code(std::errc::file_exists));
  }
}

void sync_carried_folders(const fs::path& folder) {
  const fs::path templates = folder / kTemplatesFolder.substr(0, kTemplatesFolder.size() - 1);
  if (is_real_folder(templates)) sync_folder(templates);
}

std::vector<Work> find_works(const fs::path& destination) {
  std::vector<Work> works;
  const fs::path state = state_folder(destination);
  for (const std::string& name : list_folder(state)) {
    const fs::path path = state / name;
    if (!is_work_name(name) || !is_real_folder(path)) continue;
    // A work without its folder of files is incomplete or damaged, and cannot be resumed.
    const fs::file_type pieces = link_status(path / kPiecesFolder).type();
    const bool is_sound =
        is_real_folder(path / kFilesFolder) &&
        (pieces == fs::file_type::directory || pieces == fs::file_type::not_found);
    works.push_back({path, is_sound ? read_record(path) : Json(), find_journals(path)});
  }
  return works;
}

fs::path create_work(const fs::path& destination, const Json& record, bool sync) {
  const fs::path work = state_folder(destination) / work_name(record);
  if (!make_folder(work) || !make_folder(work / kFilesFolder)) {
    fail(work, "create the folder", std::make_error_code(std::errc::no_such_file_or_directory));
  }
  write_text_file(work / kRecordName, dump_record(record), sync);
  if (sync) {
    sync_folder(state_folder(destination));
    sync_folder(destination);
  }
  return work;
}

void make_pieces_folder(const fs::path& work, bool sync) {
  if (make_folder(work / kPiecesFolder) && sync) sync_folder(work);
}

void discard_work(const fs::path& work) {
  const fs::path state = work.parent_path();
  std::error_code error;
  for (int number = 0;; ++number) {
    const fs::path trash = state / fmt::format("{}{}", kTrashPrefix, number);
    if (is_there(trash)) continue;
    fs::rename(work, trash, error);
    if (error) fail(work, "rename", error);
    return remove_folder(trash);
  }
}

void empty_trash(const fs::path& destination) {
  const fs::path state = state_folder(destination);
  for (const std::string& name : list_folder(state)) {
    if (!name.starts_with(kTrashPrefix) && !name.ends_with(kPartialEnding)) continue;
    remove_folder(state / name);
  }
}

}  // namespace mxferry::internal
