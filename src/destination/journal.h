#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/file_lock.h"
#include "checkpoint/manifest.h"
#include "mxferry/convert.h"

namespace mxferry::internal {

// A file of a work that a part has noted as written.
struct NotedFile {
  std::string sha256;  // "" where nobody knows it
  // Its data is on the disk; else it was given to the system that was started as `boot`, and is
  // lost if that has ended since.
  bool synced = false;
  std::string boot;
};

// Whether it is there still: on the disk, or in the memory of this system.
bool is_kept(const NotedFile& noted);
// Whether this machine has lost it by being started anew. Of another machine nobody can tell.
bool is_lost(const NotedFile& noted);

// What the journal of a part says: a line of JSON an event. A line that a crash has cut counts as
// not written.
struct JournalContent {
  bool begun = false;                       // a run has begun the part
  bool forced = false;                      // with leave to replace what is at the destination
  std::map<std::string, NotedFile> shards;  // finished: they have their final names
  std::map<std::string, NotedFile> shared;  // this part's share of them is written
  std::set<std::string> side_files;         // what else the checkpoint has, as last noted
  bool done = false;                        // everything that is this part's
  bool synced = false;                      // what is done is on the disk

  // Whether it was done, and is there still as far as that can be told.
  bool is_done() const;
};

struct FoundJournal {
  Part part;
  std::filesystem::path path;
  JournalContent content;
};

// The name of a part's journal in its work.
std::string journal_name(const Part& part);
// Every journal of a work.
std::vector<FoundJournal> find_journals(const std::filesystem::path& work);

// Names this machine and the system that runs on it, since it was started, as "NAME/ID"; "" where
// that cannot be told.
std::string boot_id();

// The journal of a part, which this process alone has open.
class Journal {
 public:
  // `lock`: of the journal's file. `sync`: what is noted, and the files that it speaks of, are on
  // the disk when the call returns.
  Journal(FileLock lock, bool sync);

  const std::filesystem::path& path() const noexcept { return lock_.file().path(); }
  const JournalContent& content() const noexcept { return content_; }

  // Notes that a run begins. `anew`: forgets the shares of shards that others write too; shards
  // that are finished stay. Not thread-safe, nor are the others.
  void begin(bool forced, bool anew);
  void note_side_files(const std::vector<std::string>& names);
  // `sha256` may be empty.
  void note_shard(const std::string& name, const std::string& sha256);
  void note_shared(const std::string& name);
  void note_done();

 private:
  void add(const nlohmann::json& line);
  void add_file(nlohmann::json line);

  bool sync_;
  FileLock lock_;
  JournalContent content_;
  std::uint64_t size_ = 0;
};

}  // namespace mxferry::internal
