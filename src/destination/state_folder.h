#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_lock.h"
#include "destination/journal.h"
#include "mxferry/error.h"

namespace mxferry::internal {

// What mxferry keeps in a destination while it works on it, all of it in one folder there,
// kStateFolder; docs/destination.md describes the protocol.
//
//   lock                   held while a command decides, and while it changes what readers see
//   publication            a new checkpoint is being put in place (publication.h)
//   COMMAND-DIGEST/        a work: a new checkpoint that is being made
//     record               what decides its bytes (conversion_record.h)
//     part-00001-of-00004  the journal of a part, locked while the part is at work
//     finish               locked by the process that puts the parts together
//     files/               the new checkpoint's files
//     pieces/              shards that several processes write, their headers and borders
//   old/                   what a publication replaces, until it is complete
//   trash-N                is being removed

// The exclusive right to decide what happens to a destination, and to change it.
class DestinationLock {
 public:
  // Creates the folder, and the state folder in it, where they are missing. Waits for other
  // holders, which are quick, up to half a minute. Throws Error: destination_in_use, io_error,
  // cancelled.
  explicit DestinationLock(std::filesystem::path folder, const std::stop_token& stop = {});
  DestinationLock(const DestinationLock&) = delete;
  DestinationLock& operator=(const DestinationLock&) = delete;
  // Removes the state folder if nothing is left in it, and then the destination if this object has
  // created it, or remove_empty_folder() was called, and it is empty.
  ~DestinationLock();

  bool created_folder() const noexcept { return created_; }
  void remove_empty_folder() noexcept { removes_ = true; }

 private:
  bool try_take();

  std::filesystem::path folder_;
  bool created_ = false;
  bool removes_ = false;
  std::optional<FileLock> lock_;
};

// Waits for the lock on a file as DestinationLock does. `busy` is the error where that is in vain.
FileLock wait_for_lock(const std::filesystem::path& path, const Error& busy,
                       const std::stop_token& stop);

std::filesystem::path state_folder(const std::filesystem::path& destination);
// Whether it is there. Throws Error(invalid_argument) for a file or link of that name.
bool has_state(const std::filesystem::path& destination);
// Bytes of the disk that everything in it takes.
std::uint64_t state_bytes(const std::filesystem::path& destination);

// Whether the destination has anything but mxferry's state. Without a folder there is nothing.
bool is_occupied(const std::filesystem::path& destination);

// Whether a work may have this name: see work_name().
bool is_work_name(std::string_view name);

struct Work {
  std::filesystem::path path;
  nlohmann::json record;  // null where its process ended before it was written
  std::vector<FoundJournal> parts;

  std::string name() const { return path.filename().string(); }
  bool is_being_finished() const;
  // Whether a process is at work on any part, or finishes them.
  bool is_in_use() const;
};

// The names of a work's files, below Work::path.
inline constexpr const char* kRecordName = "record";
inline constexpr const char* kFinishName = "finish";
inline constexpr const char* kFilesFolder = "files";
inline constexpr const char* kPiecesFolder = "pieces";
// The names of pieces: "header.SHARD"; the shard itself, one for each number of parts; and the
// borders of a part, or of another writer.
inline constexpr std::string_view kHeaderPrefix = "header.";
inline constexpr std::string_view kSharedPrefix = "shared-";
std::string shared_name(int world, const std::string& shard);

// The functions that follow take a DestinationLock to be held.

std::vector<Work> find_works(const std::filesystem::path& destination);
// Makes an empty work for the record, and returns its path.
std::filesystem::path create_work(const std::filesystem::path& destination,
                                  const nlohmann::json& record, bool sync);
// Removes a work; what a crash leaves of it is trash.
void discard_work(const std::filesystem::path& work);
void empty_trash(const std::filesystem::path& destination);

}  // namespace mxferry::internal
