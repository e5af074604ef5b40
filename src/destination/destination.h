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

// What a command wants of a destination.
struct DestinationRequest {
  std::filesystem::path folder = {};
  nlohmann::json record = {};  // make_record()
  Part part = {};
  bool force = false;
  bool resume = false;
  bool sync = true;
  std::uint64_t bytes = 0;  // of the disk that the new checkpoint takes
  std::vector<Input> inputs = {};
  std::stop_token stop = {};
};

// The right to make a new checkpoint, or a part of it, in a folder; the one way in which anything
// there is changed. The new files are made in the state folder (state_folder.h). What the folder
// held stays as it was until publish().
class Destination {
 public:
  // Decides under the DestinationLock whether the request can be granted, before anything is
  // changed. Returns null where the folder holds something finished, only with `resume`: whether
  // that is what the request would make is for the caller to find out. Throws Error:
  // invalid_argument (an input lies in the folder, or it is a file), destination_exists,
  // destination_in_use, conversion_changed, not_enough_disk, io_error, cancelled.
  static std::unique_ptr<Destination> claim(const DestinationRequest& request);
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;
  // Keeps what is worth resuming: finished shards, or what other parts may count on.
  ~Destination();

  // Where a file of the new checkpoint is made.
  std::filesystem::path path_of(const std::string& name) const { return files_ / name; }

  // Where a shard is made that others write too, and where this part's pieces of it go: see
  // borders.h.
  std::filesystem::path shared_path(const std::string& shard) const;
  std::filesystem::path borders_of(const std::string& shard) const;
  // Keeps the header of a shard that several parts write, which is written when they are put
  // together.
  void write_header(const std::string& shard, std::string_view header) const;

  // The shards that have their final names, whoever wrote them.
  const std::set<std::string>& finished() const noexcept { return finished_; }
  // Whether this part's bytes of the shard are written.
  bool has_written(const std::string& shard) const;

  // Notes which files the checkpoint has beside the weights.
  void note_side_files(const std::vector<std::string>& names);
  // Notes that a shard has its final name, and its digest if not empty. Thread-safe.
  void note_shard(const std::string& name, const std::string& sha256);
  // Notes that this part's share of a shard is written. Thread-safe.
  void note_shared(const std::string& name);
  // Notes that this part is done. Nothing of it is removed any more.
  void note_done();

  // Where there are no other parts: makes what was written the checkpoint of the folder. Throws
  // Error: what assemble() and put_in_place() throw.
  void publish();

  bool is_worth_resuming() const noexcept;

 private:
  friend class Claim;
  Destination(const DestinationRequest& request, std::filesystem::path work, FileLock part,
              bool created_folder);
  void adopt(const JournalContent& content, bool is_own);
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
  std::vector<std::string> unsynced_shards_;  // of finished_ and shared_, what is not on the disk
  std::vector<std::string> unsynced_shared_;
  Manifest digests_;
  std::mutex noting_;
};

// Throws Error(destination_exists).
[[noreturn]] void refuse_occupied(const std::filesystem::path& destination);

// Throws what Destination::claim() throws of the folder, the inputs and the disk, as far as that
// can be told without changing anything.
void check_destination(const DestinationRequest& request);

// The work that all processes write together that save one model.
std::filesystem::path work_path(const std::filesystem::path& destination,
                                const nlohmann::json& record);

}  // namespace mxferry::internal
