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

// Everything that mxferry keeps in a destination while it works there is in one folder,
// kStateFolder; docs/destination.md describes the protocol.
//
//   lock                   held while a command decides, and while it changes what readers see
//   publication            exists while a new checkpoint is put in place (publication.h)
//   COMMAND-DIGEST/        a work: a new checkpoint that is being made
//     record               what determines its bytes (conversion_record.h)
//     part-00001-of-00004  the journal of a part, locked while the part runs
//     finish               locked by the process that puts the parts together
//     files/               the new checkpoint's files
//     pieces/              shards that several processes write, their headers and borders
//   old/                   files that a publication replaces, until it is complete
//   trash-N                files being removed

// The exclusive right to decide what happens to a destination, and to change it.
class DestinationLock {
 public:
  // Creates the folder and its state folder if they are missing. Waits up to half a minute for
  // other holders, which are quick. Throws Error: destination_in_use, invalid_argument (a file or
  // link has the state folder's name), io_error, cancelled.
  explicit DestinationLock(std::filesystem::path folder, const std::stop_token& stop = {});
  DestinationLock(const DestinationLock&) = delete;
  DestinationLock& operator=(const DestinationLock&) = delete;
  // Removes the state folder if it holds nothing but the lock; then removes the destination if it
  // is empty and either this object created it or remove_empty_folder() was called.
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

// Waits for the lock on a file as DestinationLock does, and throws `busy` if the wait times out.
FileLock wait_for_lock(const std::filesystem::path& path, const Error& busy,
                       const std::stop_token& stop);

std::filesystem::path state_folder(const std::filesystem::path& destination);
// Whether the state folder exists. Throws Error(invalid_argument) if a file or link has its name.
bool has_state(const std::filesystem::path& destination);
// The disk space that the state folder takes, in bytes.
std::uint64_t state_bytes(const std::filesystem::path& destination);

// Whether the destination holds anything but the state folder. False if it does not exist.
bool is_occupied(const std::filesystem::path& destination);

// Whether this is a valid name for a work: see work_name().
bool is_work_name(std::string_view name);

struct Work {
  std::filesystem::path path;
  nlohmann::json record;  // null if the work is incomplete or damaged
  std::vector<FoundJournal> parts;

  std::string name() const { return path.filename().string(); }
  bool is_being_finished() const;
  // Whether a process is working on any part, or finishing the work.
  bool is_in_use() const;
};

// The names of a work's files, below Work::path.
inline constexpr const char* kRecordName = "record";
inline constexpr const char* kFinishName = "finish";
inline constexpr const char* kFilesFolder = "files";
inline constexpr const char* kPiecesFolder = "pieces";
// The names in pieces/: "header.SHARD"; the shard itself, one for each number of parts; and the
// border files of a part, or of another writer.
inline constexpr std::string_view kHeaderPrefix = "header.";
inline constexpr std::string_view kSharedPrefix = "shared-";
std::string shared_name(int world, const std::string& shard);

// Makes the folder that holds a file of this name below `folder`, if the name has one. Throws
// Error(io_error).
void make_folder_of(const std::filesystem::path& folder, const std::string& name);

// Syncs the folders that make_folder_of() may have made.
void sync_carried_folders(const std::filesystem::path& folder);

// The caller of the functions below must hold a DestinationLock.

std::vector<Work> find_works(const std::filesystem::path& destination);
// Creates an empty work for the record and returns its path.
std::filesystem::path create_work(const std::filesystem::path& destination,
                                  const nlohmann::json& record, bool sync);
// For a work whose shards several processes write; does nothing if the folder is there.
void make_pieces_folder(const std::filesystem::path& work, bool sync);
// Removes a work, as trash: after a crash, empty_trash() removes the rest.
void discard_work(const std::filesystem::path& work);
void empty_trash(const std::filesystem::path& destination);

}  // namespace mxferry::internal
