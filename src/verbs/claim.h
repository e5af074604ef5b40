#pragma once

#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "verbs/journal.h"

namespace mxferry {

// How a conversion takes possession of its destination.
struct ClaimOptions {
  Part part;
  bool force = false;
  bool resume = false;
  bool sync = true;
};

// The right to write one part of a conversion to a folder, from the time it is made on. What it
// adds to the folder is removed when it goes, unless that is worth resuming.
class Claim {
 public:
  // Creates the folder, and calls unmark_checkpoint(). `record`: make_record(). Throws Error:
  // destination_exists, destination_in_use, conversion_changed, io_error.
  Claim(std::filesystem::path folder, const nlohmann::json& record, const ClaimOptions& options);
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  // Keeps what is worth resuming: a finished shard, or what other parts may count on.
  ~Claim();

  const std::filesystem::path& folder() const noexcept { return folder_; }
  const JournalContent& journal() const noexcept { return journal_->content(); }
  // The shards of this conversion that have their final names, whoever wrote them.
  const std::set<std::string>& finished() const noexcept { return finished_; }

  // Tells that a file of this name is about to be created, and gives its path.
  std::filesystem::path add(const std::string& name);
  // Notes what the manifest is to list beside the shards.
  void note_side_files(const std::vector<std::string>& names);
  // Notes that a shard has its final name, and its digest if not empty. Thread-safe.
  void note_shard(const std::string& name, const std::string& sha256);
  // Notes that this part's share of a shard is written. Thread-safe.
  void note_shared(const std::string& name);
  // Notes that this part is done. Nothing is removed any more.
  void note_done();

  bool is_worth_resuming() const noexcept;

 private:
  void take_over(const nlohmann::json& record, const std::vector<FoundJournal>& others,
                 const ClaimOptions& options);
  void refuse_other(const FoundJournal& other, const nlohmann::json& record,
                    const ClaimOptions& options) const;
  void adopt(const nlohmann::json& record, const JournalContent& content);

  std::filesystem::path folder_;
  bool created_ = false;
  bool has_parts_;
  std::optional<Journal> journal_;
  std::set<std::string> finished_;
  std::vector<std::string> added_;
  std::mutex noting_;
};

}  // namespace mxferry
