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
  std::string sha256;  // "" if unknown
  // Whether the data is on the disk. If not, it was written while the system ran as `boot`, and is
  // lost if that system has restarted since.
  bool synced = false;
  std::string boot;
};

// Whether the data is known to exist: on the disk, or written since this system's boot.
bool is_kept(const NotedFile& noted);
// Whether the data is known to be lost, because this machine has rebooted since. False if another
// machine wrote it, which cannot be checked.
bool is_lost(const NotedFile& noted);

// The content of a part's journal: one line of JSON per event. A line cut short by a crash is
// ignored.
struct JournalContent {
  bool begun = false;                       // a run has begun the part
  bool forced = false;                      // a run may replace what the destination holds
  std::map<std::string, NotedFile> shards;  // finished: they have their final names
  std::map<std::string, NotedFile> shared;  // this part's share of them is written
  std::set<std::string> side_files;         // the checkpoint's other files, as last noted
  bool done = false;                        // the part is done
  bool synced = false;                      // and, if done, on the disk

  // Whether the part is done and none of its files is known to be lost.
  bool is_done() const;
};

struct FoundJournal {
  Part part;
  std::filesystem::path path;
  JournalContent content;
};

// The name of a part's journal in its work's folder.
std::string journal_name(const Part& part);
// Every journal of a work.
std::vector<FoundJournal> find_journals(const std::filesystem::path& work);

// Identifies this machine and its current boot, as "HOSTNAME/BOOT-ID"; "" if unknown.
std::string boot_id();

// The journal of a part, open in this process alone.
class Journal {
 public:
  // `lock`: on the journal's file. `sync`: lines are on the disk when a call returns, and the
  // caller has synced the files that they list.
  Journal(FileLock lock, bool sync);

  const std::filesystem::path& path() const noexcept { return lock_.file().path(); }
  const JournalContent& content() const noexcept { return content_; }

  // Notes that a run begins. `anew`: forgets this part's shares of shared shards; finished shards
  // are kept. Not thread-safe, nor are the functions below.
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
