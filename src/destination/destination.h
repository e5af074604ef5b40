#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "destination/inputs.h"
#include "destination/journal.h"
#include "mxferry/convert.h"

namespace mxferry::internal {

// A command's request to write to a destination.
struct DestinationRequest {
  std::filesystem::path folder = {};
  nlohmann::json record = {};  // make_record()
  Part part = {};
  bool force = false;
  bool resume = false;
  bool sync = true;
  std::uint64_t bytes = 0;  // disk space that the new checkpoint takes
  std::vector<Input> inputs = {};
  std::stop_token stop = {};
};

// The right to make a new checkpoint, or a part of it, in a folder; the only way to change anything
// there. The new files are made in the state folder (state_folder.h). What the folder held is
// unchanged until publish().
class Destination {
 public:
  // Under the DestinationLock, completes an interrupted publication and removes trash; then decides
  // whether to grant the request, before changing anything else. With `resume`, returns null if the
  // folder holds something finished; the caller must check whether it is what the request would
  // make. Throws Error: invalid_argument (an input is in the folder, or it is a file),
  // destination_exists, destination_in_use, conversion_changed, unfinished_conversion (a shard is
  // lost), not_enough_disk, io_error, cancelled.
  static std::unique_ptr<Destination> claim(const DestinationRequest& request);
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;
  // Removes an unpublished work unless this part is done, or the work is worth resuming: a
  // conversion with finished shards or other parts.
  ~Destination();

  // The path at which to make a file of the new checkpoint.
  std::filesystem::path path_of(const std::string& name) const { return files_ / name; }

  // The paths of a shard that other parts also write, and of this part's border file for it: see
  // borders.h.
  std::filesystem::path shared_path(const std::string& shard) const;
  std::filesystem::path borders_of(const std::string& shard) const;
  // Stores the header of a shard that several parts write; assemble() adds it to the shard.
  void write_header(const std::string& shard, std::string_view header) const;

  // The shards that have their final names, no matter which part or run wrote them.
  const std::set<std::string>& finished() const noexcept { return finished_; }
  // Whether this part's bytes of the shard are written.
  bool has_written(const std::string& shard) const;

  // Copies a file of another folder that the checkpoint has besides the weights.
  void carry(const std::filesystem::path& from, const std::string& name) const;
  // Notes which files the checkpoint has besides the weights.
  void note_side_files(const std::vector<std::string>& names);
  // Notes that a shard has its final name, and its digest if not empty. Thread-safe.
  void note_shard(const std::string& name, const std::string& sha256);
  // Notes that this part's share of a shard is written. Thread-safe.
  void note_shared(const std::string& name);
  // Notes that this part is done; the destructor then removes nothing.
  void note_done();

  // Makes the written files the folder's checkpoint. Only for a work without other parts. Throws
  // what assemble() and put_in_place() throw.
  void publish();

  bool is_worth_resuming() const noexcept;

 private:
  friend class Claim;
  Destination(const DestinationRequest& request, std::filesystem::path work, FileLock part,
              bool created_folder);
  void adopt(const JournalContent& content, bool is_own);
  void note_adopted(const std::string& name, const NotedFile& noted);
  void refuse_lost_shares(const FoundJournal& other) const;
  void sync_adopted();

  DestinationRequest request_;
  std::filesystem::path work_;
  std::filesystem::path files_;
  bool created_folder_;
  bool is_published_ = false;
  std::optional<Journal> journal_;
  std::set<std::string> finished_;
  std::set<std::string> shared_;
  // Adopted from an earlier run into finished_ and shared_, but not yet on the disk.
  std::vector<std::string> unsynced_shards_;
  std::vector<std::string> unsynced_shared_;
  Manifest digests_;
  std::mutex noting_;
};

// Throws Error(destination_exists).
[[noreturn]] void refuse_occupied(const std::filesystem::path& destination);

// Makes the checks of Destination::claim() on the folder, the inputs and the disk that change
// nothing, and throws the same errors.
void check_destination(const DestinationRequest& request);

// The path of the work that all processes saving one model share.
std::filesystem::path work_path(const std::filesystem::path& destination,
                                const nlohmann::json& record);

}  // namespace mxferry::internal
