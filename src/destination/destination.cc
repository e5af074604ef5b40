#include "destination/destination.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/folder.h"
#include "destination/assembly.h"
#include "destination/conversion_record.h"
#include "destination/side_files.h"
#include "destination/state_folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

bool is_whole_file(const fs::path& path, std::uint64_t size) {
  return is_file(path) && File::open_for_reading(path).size() == size;
}

void sync_file(const fs::path& path) {
  File::open_for_writing(path).sync();
}

}  // namespace

fs::path work_path(const fs::path& destination, const nlohmann::json& record) {
  return state_folder(destination) / work_name(record);
}

Destination::Destination(const DestinationRequest& request, fs::path work, FileLock part,
                         bool created_folder)
    : request_(request),
      work_(std::move(work)),
      files_(work_ / kFilesFolder),
      created_folder_(created_folder) {
  journal_.emplace(std::move(part), request_.sync);
  journal_->begin(request_.force, request_.force && !request_.resume);
  const std::vector<FoundJournal> journals = find_journals(work_);
  for (const FoundJournal& found : journals) {
    adopt(found.content, found.path == journal_->path());
  }
  for (const FoundJournal& found : journals) refuse_lost_shares(found);
}

// Adopts shards listed as finished that exist with the recorded size; from this part's own journal,
// also its shares of shared shards.
void Destination::adopt(const JournalContent& content, bool is_own) {
  for (const RecordedFile& file : recorded_files(request_.record)) {
    const auto shard = content.shards.find(file.name);
    if (shard != content.shards.end() && is_kept(shard->second) &&
        is_whole_file(path_of(file.name), file.size)) {
      finished_.insert(file.name);
      const std::string& sha256 = shard->second.sha256;
      if (is_hexadecimal(sha256, kSha256Digits)) digests_[file.name] = sha256;
      if (is_own && !shard->second.synced) unsynced_shards_.push_back(file.name);
      if (!is_own) note_adopted(file.name, shard->second);
    }
    const auto shared = content.shared.find(file.name);
    if (is_own && shared != content.shared.end() && is_kept(shared->second) &&
        is_whole_file(shared_path(file.name), file.size) && is_there(borders_of(file.name))) {
      shared_.insert(file.name);
      if (!shared->second.synced) unsynced_shared_.push_back(file.name);
    }
  }
}

// Another part may remove the journal that lists the shard (Claim::remove_other_worlds), while this
// part relies on it. So it is noted before the DestinationLock is released.
void Destination::note_adopted(const std::string& name, const NotedFile& noted) {
  if (journal_->content().shards.contains(name)) return;
  if (request_.sync && !noted.synced) sync_file(path_of(name));
  const auto digest = digests_.find(name);
  journal_->note_shard(name, digest == digests_.end() ? "" : digest->second);
}

// Throws Error(unfinished_conversion) if a shard that another part has a share of is lost: a new
// file would lack that share.
void Destination::refuse_lost_shares(const FoundJournal& other) const {
  if (other.part.world != request_.part.world || other.path == journal_->path()) return;
  for (const auto& [shard, noted] : other.content.shared) {
    if (finished_.contains(shard) || is_there(shared_path(shard))) continue;
    throw Error(
        ErrorCode::unfinished_conversion,
        {.problem = "a shard that other parts have written is lost: " + shard,
         .file = request_.folder,
         .advice = "Begin anew: run one process with --force and without --rank, or remove " +
                   state_folder(request_.folder).string()});
  }
}

// Syncs what an earlier run left unsynced, and notes it as synced.
void Destination::sync_adopted() {
  if (!request_.sync) return;
  for (const std::string& name : unsynced_shards_) {
    sync_file(path_of(name));
    const auto digest = digests_.find(name);
    journal_->note_shard(name, digest == digests_.end() ? "" : digest->second);
  }
  for (const std::string& name : unsynced_shared_) {
    sync_file(shared_path(name));
    sync_file(borders_of(name));
    journal_->note_shared(name);
  }
}

Destination::~Destination() {
  if (is_published_ || journal_->content().done || is_worth_resuming()) return;
  try {
    DestinationLock lock(request_.folder);
    // An interrupted publication needs the work; the next command completes it.
    if (is_there(state_folder(request_.folder) / kPublicationName)) return;
    discard_work(work_);
    if (created_folder_) lock.remove_empty_folder();
  } catch (const std::exception&) {
    return;  // the next command removes it
  }
}

bool Destination::is_worth_resuming() const noexcept {
  return is_resumable(request_.record) && (request_.part.world > 1 || !finished_.empty());
}

fs::path Destination::shared_path(const std::string& shard) const {
  return work_ / kPiecesFolder / shared_name(request_.part.world, shard);
}

fs::path Destination::borders_of(const std::string& shard) const {
  return work_ / kPiecesFolder / (journal_name(request_.part) + "." + shard);
}

void Destination::write_header(const std::string& shard, std::string_view header) const {
  write_text_file(work_ / kPiecesFolder / (std::string(kHeaderPrefix) + shard), header,
                  request_.sync);
}

bool Destination::has_written(const std::string& shard) const {
  return finished_.contains(shard) || shared_.contains(shard);
}

void Destination::carry(const fs::path& from, const std::string& name) const {
  make_folder_of(files_, name);
  copy_side_file(from / name, path_of(name), request_.sync);
}

void Destination::note_side_files(const std::vector<std::string>& names) {
  if (request_.sync) {
    sync_carried_folders(files_);
    sync_folder(files_);
  }
  journal_->note_side_files(names);
}

void Destination::note_shard(const std::string& name, const std::string& sha256) {
  const std::lock_guard lock(noting_);
  // Before noting: if that fails, the shard still exists and the work must be kept.
  finished_.insert(name);
  if (!sha256.empty()) digests_[name] = sha256;
  journal_->note_shard(name, sha256);
}

void Destination::note_shared(const std::string& name) {
  const std::lock_guard lock(noting_);
  journal_->note_shared(name);
}

void Destination::note_done() {
  journal_->note_done();
}

void Destination::publish() {
  WrittenWork work{.destination = request_.folder,
                   .path = work_,
                   .record = request_.record,
                   .world = request_.part.world,
                   .named = finished_,
                   .side_files = journal_->content().side_files,
                   .digests = digests_,
                   .borders = {},
                   .note_named = {},
                   .sync = request_.sync,
                   .forced = journal_->content().forced};
  if (!is_resumable(request_.record)) work.borders = all_borders(work_);
  put_in_place(work, assemble(work, request_.stop), request_.stop);
  is_published_ = true;
}

}  // namespace mxferry::internal
