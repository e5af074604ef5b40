#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/manifest.h"
#include "mxferry/convert.h"

namespace mxferry {

// What the journal of a part tells: lines of JSON, the first of them the conversion. A line that a
// crash has cut counts as not written.
struct JournalContent {
  nlohmann::json conversion;         // make_record(); null where not even that was written
  std::set<std::string> shards;      // finished: they have their final names
  Manifest digests;                  // of the finished shards, as far as they are known
  std::set<std::string> side_files;  // what else the manifest is to list, as last noted
  std::set<std::string> shared;      // this part's share of shards that others write too is written
  bool done = false;                 // and with it everything that is this part's
  bool synced = false;               // what is done is on the disk
};

// Every journal of a folder, by part.
struct FoundJournal {
  Part part;
  std::filesystem::path path;
  JournalContent content;
};
std::vector<FoundJournal> find_journals(const std::filesystem::path& folder);

// The journal of a part, which no other process has meanwhile. It is in the destination as long as
// that is unfinished.
class Journal {
 public:
  // Creates or opens it. Throws Error(destination_in_use, io_error). `sync`: what is noted is on
  // the disk when the call returns.
  Journal(const std::filesystem::path& folder, const Part& part, bool sync);

  const std::filesystem::path& path() const noexcept { return file_.path(); }
  const JournalContent& content() const noexcept { return content_; }

  // Throws away what was noted.
  void begin(const nlohmann::json& conversion);
  // Not thread-safe.
  void note_side_files(const std::vector<std::string>& names);
  // `sha256` may be empty.
  void note_shard(const std::string& name, const std::string& sha256);
  void note_shared(const std::string& name);
  void note_done();

 private:
  void add(const nlohmann::json& line);

  bool sync_;
  File file_;
  JournalContent content_;
  std::uint64_t size_ = 0;
};

}  // namespace mxferry
