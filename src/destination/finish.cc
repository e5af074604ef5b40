#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/safetensors_header.h"
#include "destination/assembly.h"
#include "destination/conversion_record.h"
#include "destination/publication.h"
#include "destination/snapshot.h"
#include "destination/state_folder.h"
#include "mxferry/convert.h"
#include "mxferry/error.h"
#include "source/source_checkpoint.h"

namespace mxferry {

using namespace internal;

namespace {

namespace fs = std::filesystem;

// The journals of a conversion in `world` parts, by rank; some may be missing.
struct Parts {
  int world = 0;
  std::map<int, const FoundJournal*> journals;

  bool is_done(int rank) const {
    const auto found = journals.find(rank);
    return found != journals.end() && found->second->content.is_done();
  }
  bool are_done() const {
    return std::cmp_equal(journals.size(), world) &&
           std::ranges::all_of(journals, [&](const auto& entry) { return is_done(entry.first); });
  }
};

[[noreturn]] void refuse_unfinished(const fs::path& folder, const Parts& parts) {
  constexpr int kShown = 8;
  std::string ranks;
  int open = 0;
  for (int rank = 0; rank < parts.world && open <= kShown; ++rank) {
    if (parts.is_done(rank)) continue;
    ranks += (open == 0 ? "" : ", ") + (open < kShown ? std::to_string(rank) : "...");
    ++open;
  }
  const bool alone = parts.world <= 1;
  throw Error(ErrorCode::unfinished_conversion,
              {.problem = alone ? std::string("the conversion is not done")
                                : fmt::format("not all of {} parts are done", parts.world),
               .file = folder,
               .found = alone ? std::string() : "open: rank " + ranks,
               .advice = "Run the same command again with --resume"});
}

// The parts of a run that has done all of them; other runs may have had other numbers of parts.
// Throws Error(unfinished_conversion) if there is no such run.
Parts complete_parts(const fs::path& folder, const std::vector<FoundJournal>& journals) {
  std::map<int, Parts> by_world;
  for (const FoundJournal& journal : journals) {
    Parts& parts = by_world[journal.part.world];
    parts.world = journal.part.world;
    parts.journals[journal.part.rank] = &journal;
  }
  const auto done =
      std::ranges::find_if(by_world, [](auto& entry) { return entry.second.are_done(); });
  if (done != by_world.end()) return done->second;
  refuse_unfinished(folder, by_world.empty() ? Parts() : by_world.rbegin()->second);
}

WrittenWork written_work(const fs::path& destination, const Work& work, const Parts& parts) {
  WrittenWork written{.destination = destination,
                      .path = work.path,
                      .record = work.record,
                      .world = parts.world,
                      .named = {},
                      .side_files = {},
                      .digests = {},
                      .borders = {},
                      .note_named = {}};
  for (const auto& [rank, journal] : parts.journals) {
    const JournalContent& content = journal->content;
    written.sync &= content.synced;
    written.side_files.insert(content.side_files.begin(), content.side_files.end());
    for (const auto& [shard, noted] : content.shared) {
      const std::string name = journal_name(journal->part) + "." + shard;
      written.borders[shard].push_back(work.path / kPiecesFolder / name);
    }
  }
  // Earlier runs with other numbers of parts may have finished some shards.
  for (const FoundJournal& journal : work.parts) {
    written.forced |= journal.content.forced;
    for (const auto& [name, noted] : journal.content.shards) {
      if (is_lost(noted)) continue;
      written.named.insert(name);
      if (is_hexadecimal(noted.sha256, kSha256Digits)) written.digests[name] = noted.sha256;
    }
  }
  return written;
}

// For a save or a sample, which publishes its own work.
[[noreturn]] void refuse_in_use(const fs::path& folder) {
  throw Error(ErrorCode::destination_in_use,
              {.problem = "another process is writing to this folder",
               .file = folder,
               .advice = "Wait for it"});
}

[[noreturn]] void refuse_at_work(const fs::path& folder, const Part& part) {
  throw Error(ErrorCode::destination_in_use,
              {.problem = fmt::format("part {} of {} is still at work", part.rank, part.world),
               .file = folder,
               .advice = "Wait for it"});
}

// Keeps other processes from finishing the work; nullopt if one has finished it meanwhile.
std::optional<FileLock> lock_finish(const fs::path& work, const std::stop_token& stop) {
  const Error busy(ErrorCode::destination_in_use,
                   {.problem = "another process is finishing this conversion",
                    .file = work.parent_path().parent_path(),
                    .advice = "Wait for it"});
  try {
    return wait_for_lock(work / kFinishName, busy, stop);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::io_error || is_there(work)) throw;
    return std::nullopt;
  }
}

// A work, and the locks that keep its parts from running.
struct LockedWork {
  Work work;
  std::vector<FileLock> parts;
};

// nullopt if the work does not exist, or no longer exists.
std::optional<LockedWork> lock_work(const fs::path& destination, const std::string& name,
                                    const std::stop_token& stop) {
  const DestinationLock lock(destination, stop);
  std::vector<Work> works = find_works(destination);
  const auto found = std::ranges::find(works, name, &Work::name);
  if (found == works.end()) return std::nullopt;
  LockedWork locked{.work = std::move(*found), .parts = {}};
  for (const FoundJournal& journal : locked.work.parts) {
    std::optional<FileLock> part = FileLock::try_take(journal.path);
    if (!part) refuse_at_work(destination, journal.part);
    locked.parts.push_back(std::move(*part));
  }
  return locked;
}

// Completes an interrupted publication, and removes unfinished saves and samples. Returns the name
// of the work to finish; nullopt if there is none. Throws Error(destination_in_use) if a save or a
// sample is running.
std::optional<std::string> work_to_finish(const fs::path& destination,
                                          const std::stop_token& stop) {
  if (!has_state(destination)) return std::nullopt;
  const DestinationLock lock(destination, stop);
  complete_publication(destination);
  empty_trash(destination);
  std::optional<std::string> name;
  for (const Work& work : find_works(destination)) {
    if (is_resumable(work.record)) {
      name = work.name();
    } else if (work.is_in_use()) {
      refuse_in_use(destination);
    } else {
      discard_work(work.path);
    }
  }
  return name;
}

FinishReport already_finished(const fs::path& destination) {
  FinishReport report;
  look_at(destination, [&] {
    const SourceCheckpoint found = open_source(destination.string());
    require_sound(found);
    report.files = found.folder.shards.size();
    for (const ShardFile& shard : found.folder.shards) report.bytes += file_size(shard.header);
  });
  return report;
}

}  // namespace

FinishReport finish_conversion(const fs::path& destination, std::stop_token stop) {
  if (!is_there(destination)) {
    throw Error(ErrorCode::not_a_checkpoint,
                {.problem = "there is no such folder", .file = destination});
  }
  const std::optional<std::string> name = work_to_finish(destination, stop);
  if (!name) return already_finished(destination);
  const fs::path path = state_folder(destination) / *name;
  const std::optional<FileLock> finishing = lock_finish(path, stop);
  std::optional<LockedWork> locked = lock_work(destination, *name, stop);
  if (!finishing || !locked) return already_finished(destination);
  const Parts parts = complete_parts(destination, locked->work.parts);
  WrittenWork work = written_work(destination, locked->work, parts);
  Journal journal(std::move(locked->parts.front()), work.sync);
  work.note_named = [&](const std::string& shard) { journal.note_shard(shard, {}); };
  const Assembly assembly = assemble(work, stop);
  put_in_place(work, assembly, stop);
  return {.parts = parts.world, .files = assembly.shards, .bytes = assembly.bytes};
}

}  // namespace mxferry
