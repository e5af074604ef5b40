#include "verbs/finish.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"
#include "mxferry/error.h"
#include "verbs/conversion_record.h"
#include "verbs/output.h"
#include "verbs/source_checkpoint.h"
#include "verbs/write_manifest.h"

namespace mxferry {
namespace {

namespace fs = std::filesystem;

// The journals of as many parts as there are of one conversion, by rank.
struct Parts {
  int world = 0;
  std::map<int, const FoundJournal*> journals;

  bool is_done(int rank) const {
    const auto found = journals.find(rank);
    return found != journals.end() && found->second->content.done;
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
  const bool alone = parts.world == 1;
  throw Error(ErrorCode::unfinished_conversion,
              {.problem = alone ? std::string("the conversion is not done")
                                : fmt::format("not all of {} parts are done", parts.world),
               .file = folder,
               .found = alone ? std::string() : "open: rank " + ranks,
               .advice = "Run the same command again with --resume"});
}

void require_one_conversion(const fs::path& folder, const Parts& parts) {
  const nlohmann::json& conversion = parts.journals.begin()->second->content.conversion;
  for (const auto& [rank, journal] : parts.journals) {
    const auto change = explain_change(journal->content.conversion, conversion);
    if (!change) continue;
    throw Error(ErrorCode::conversion_changed,
                {.problem = "the parts are of different conversions: " + *change,
                 .file = folder,
                 .advice = "Convert anew, with --force"});
  }
}

// The parts that make a whole checkpoint: an earlier run may have had another number of them.
Parts complete_parts(const fs::path& folder, const std::vector<FoundJournal>& journals) {
  std::map<int, Parts> by_world;
  for (const FoundJournal& journal : journals) {
    Parts& parts = by_world[journal.part.world];
    parts.world = journal.part.world;
    parts.journals[journal.part.rank] = &journal;
  }
  const auto done =
      std::ranges::find_if(by_world, [](auto& entry) { return entry.second.are_done(); });
  if (done == by_world.end()) refuse_unfinished(folder, by_world.rbegin()->second);
  require_one_conversion(folder, done->second);
  return done->second;
}

// A shard that is whole, under its final name or not yet.
SafetensorsHeader read_whole_header(const fs::path& path, std::uint64_t size) {
  const File file = File::open_for_reading(path);
  SafetensorsHeader header = read_header_of_any_length(file);
  check_file_size(header, file);
  if (file.size() != size) {
    throw Error(ErrorCode::file_size_mismatch, {.problem = "the file is not what was converted",
                                                .file = path,
                                                .expected = std::to_string(size) + " bytes",
                                                .found = std::to_string(file.size())});
  }
  return header;
}

// Gives every file its final name and returns what they hold.
ShardIndex name_files(const fs::path& folder, const std::vector<RecordedFile>& files) {
  ShardIndex index;
  std::uint64_t total = 0;
  std::vector<fs::path> unnamed;
  for (const RecordedFile& file : files) {
    const fs::path path = folder / file.name;
    // With both, the one of that name is of an older checkpoint.
    const bool is_partial = is_there(partial_name(path));
    const SafetensorsHeader header =
        read_whole_header(is_partial ? partial_name(path) : path, file.size);
    if (is_partial) unnamed.push_back(path);
    for (const TensorInfo& tensor : header.tensors) {
      index.weight_map[tensor.name] = file.name;
      total += tensor.end - tensor.begin;
    }
  }
  for (const fs::path& path : unnamed) take_final_name(path, false);
  index.total_size = total;
  return index;
}

// What the manifest lists but for the index; digests are empty where nobody knows them.
Manifest noted_digests(const Parts& parts, const std::vector<FoundJournal>& journals,
                       const std::vector<std::string>& shards) {
  Manifest digests;
  for (const std::string& name : shards) digests[name] = "";
  for (const auto& [rank, journal] : parts.journals) {
    for (const std::string& name : journal->content.side_files) digests[name] = "";
  }
  // An earlier run with another number of parts may have written some.
  const nlohmann::json& conversion = parts.journals.begin()->second->content.conversion;
  for (const FoundJournal& journal : journals) {
    if (journal.content.conversion != conversion) continue;
    for (const auto& [name, digest] : journal.content.digests) {
      const auto shard = digests.find(name);
      if (shard != digests.end() && is_hexadecimal(digest, kSha256Digits)) shard->second = digest;
    }
  }
  return digests;
}

}  // namespace

FinishReport finish_parts(const fs::path& folder, const std::vector<FoundJournal>& journals,
                          const std::stop_token& stop) {
  const Parts parts = complete_parts(folder, journals);
  const bool sync = std::ranges::all_of(
      parts.journals, [](const auto& entry) { return entry.second->content.synced; });
  const nlohmann::json& conversion = parts.journals.begin()->second->content.conversion;
  const std::vector<RecordedFile> files = recorded_files(conversion);
  const ShardIndex index = name_files(folder, files);
  if (sync) sync_folder(folder);
  FinishReport report{.parts = parts.world, .files = files.size()};
  std::vector<std::string> names;
  for (const RecordedFile& file : files) {
    report.bytes += file.size;
    names.push_back(file.name);
  }
  const std::string index_text = has_index(names) ? serialize_shard_index(index) : std::string();
  if (has_manifest(conversion)) {
    Manifest digests = noted_digests(parts, journals, names);
    if (has_index(names)) digests[kIndexName] = sha256_of(std::as_bytes(std::span(index_text)));
    write_manifest(folder, std::move(digests), sync, stop);
  } else {
    remove_if_there(folder / kManifestName);  // of what was there before
  }
  if (has_index(names)) write_text_file(folder / kIndexName, index_text, sync);
  remove_other_weights(folder, names);
  for (const FoundJournal& journal : journals) remove_if_there(journal.path);
  if (sync) sync_folder(folder);
  return report;
}

FinishReport finish_conversion(const fs::path& destination, std::stop_token stop) {
  if (!is_there(destination)) {
    throw Error(ErrorCode::not_a_checkpoint,
                {.problem = "there is no such folder", .file = destination});
  }
  const std::vector<FoundJournal> journals = find_journals(destination);
  if (journals.empty()) {
    const SourceCheckpoint found = open_source(destination.string());
    require_sound(found);
    FinishReport report{.parts = 0, .files = found.folder.shards.size()};
    for (const Shard& shard : found.folder.shards) report.bytes += file_size(shard.header);
    return report;
  }
  std::vector<File> taken;
  for (const FoundJournal& journal : journals) {
    std::optional<File> file = File::create_or_open_alone(journal.path);
    if (!file) {
      throw Error(ErrorCode::destination_in_use,
                  {.problem = fmt::format("part {} of {} is still at work", journal.part.rank,
                                          journal.part.world),
                   .file = destination,
                   .advice = "Wait for it"});
    }
    taken.push_back(std::move(*file));
  }
  // Again, now that nobody writes to them.
  return finish_parts(destination, find_journals(destination), stop);
}

}  // namespace mxferry
