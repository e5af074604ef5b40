#include <algorithm>
#include <optional>
#include <utility>

#include "base/file.h"
#include "destination/conversion_record.h"
#include "destination/destination.h"
#include "destination/publication.h"
#include "destination/state_folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_unfinished(const fs::path& folder) {
  throw Error(ErrorCode::destination_exists,
              {.problem = "an unfinished conversion is there",
               .file = folder,
               .advice = "Go on with it by --resume, or begin anew by --force"});
}

[[noreturn]] void refuse_changed(const fs::path& folder, const std::string& change) {
  throw Error(ErrorCode::conversion_changed,
              {.problem = "another conversion was begun there: " + change,
               .file = folder,
               .advice = "Give the options and the source that it was begun with, or begin anew by "
                         "--force"});
}

[[noreturn]] void refuse_in_use(const fs::path& folder) {
  throw Error(ErrorCode::destination_in_use,
              {.problem = "another process is converting to this folder",
               .file = folder,
               .advice = "Wait for it, or give another folder"});
}

void check_disk(const DestinationRequest& request) {
  // The space that unfinished work takes is reused, or freed first.
  const std::uint64_t free = free_bytes(request.folder) + state_bytes(request.folder);
  if (request.bytes <= free) return;
  const bool replaces = is_occupied(request.folder);
  throw Error(
      ErrorCode::not_enough_disk,
      {.problem = replaces ? "not enough disk space to hold the old and the new checkpoint together"
                           : "not enough disk space",
       .file = request.folder,
       .expected = std::to_string(request.bytes) + " bytes free",
       .found = std::to_string(free),
       .advice = replaces ? "Free some space, choose another disk, or remove the old checkpoint "
                            "yourself"
                          : "Free some space, or choose another disk"});
}

}  // namespace

void refuse_occupied(const fs::path& destination) {
  throw Error(ErrorCode::destination_exists,
              {.problem = "the destination exists and is not empty",
               .file = destination,
               .advice = "Give a new folder, or --force to replace a checkpoint there"});
}

void check_destination(const DestinationRequest& request) {
  const fs::path& folder = request.folder;
  if (folder.empty())
    throw Error(ErrorCode::invalid_argument, {.problem = "the destination has no name"});
  if (!is_there(folder) && fs::is_symlink(link_status(folder))) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the destination is a link that leads nowhere",
                 .file = folder,
                 .advice = "Make the folder that it leads to, or remove the link"});
  }
  if (is_there(folder) && !is_folder(folder)) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the destination must be a folder", .file = folder, .found = "a file"});
  }
  refuse_inputs_in(folder, request.inputs);
  if (is_there(folder) && has_state(folder)) return;
  if (is_occupied(folder) && !request.force && !request.resume) refuse_occupied(folder);
  if (!request.resume) check_disk(request);
}

// The decision about one request, under the DestinationLock.
class Claim {
 public:
  explicit Claim(const DestinationRequest& request) : request_(request) {}

  std::unique_ptr<Destination> make() {
    const DestinationLock lock(request_.folder, request_.stop);
    recover();
    works_ = find_works(request_.folder);
    find_own();
    refuse_others();
    if (own_ != nullptr) check_own();
    if (!may_replace()) {
      if (!request_.resume || was_begun()) refuse_occupied(request_.folder);
      return nullptr;
    }
    refuse_inputs_in(request_.folder, request_.inputs);
    check_disk(request_);
    return take(lock.created_folder());
  }

 private:
  bool begins_anew() const { return request_.force && !request_.resume; }

  // Whether other processes may write to the same shards: those of other parts, or of other ranks
  // that save.
  bool shares_shards() const { return request_.part.world > 1 || !is_resumable(request_.record); }

  bool is_own_part(const FoundJournal& journal) const {
    return journal.part.rank == request_.part.rank && journal.part.world == request_.part.world;
  }

  bool was_begun() const {
    return own_ != nullptr &&
           std::ranges::any_of(own_->parts, [](const auto& j) { return j.content.begun; });
  }

  // Completes or removes what an earlier command left when its process ended.
  void recover() const {
    try {
      complete_publication(request_.folder);
    } catch (const Error& error) {
      if (!request_.force || error.code() != ErrorCode::invalid_argument) throw;
      drop_publication(request_.folder);
    }
    empty_trash(request_.folder);
  }

  void find_own() {
    const auto own = std::ranges::find(works_, work_name(request_.record), &Work::name);
    if (own == works_.end()) return;
    if (own->record.is_null()) return discards_.push_back(own->path);
    own_ = &*own;
  }

  void refuse_others() {
    for (const Work& work : works_) {
      if (&work == own_ || std::ranges::count(discards_, work.path) > 0) continue;
      if (work.is_in_use()) refuse_in_use(request_.folder);
      if (is_resumable(work.record) && !request_.force) {
        refuse_changed(request_.folder, explain(work));
      }
      discards_.push_back(work.path);
    }
  }

  std::string explain(const Work& work) const {
    return explain_change(work.record, request_.record).value_or("its record is damaged");
  }

  void check_own() {
    if (own_->is_being_finished()) refuse_in_use(request_.folder);
    bool is_begun = false;
    for (const FoundJournal& journal : own_->parts) {
      const bool is_sibling = journal.part.world == request_.part.world && !is_own_part(journal);
      if (is_sibling) continue;
      if (is_locked(journal.path)) refuse_in_use(request_.folder);
      is_begun |= journal.content.begun;
    }
    if (!is_resumable(request_.record)) return discard_own();
    if (own_->record != request_.record && !request_.force) {
      refuse_changed(request_.folder, explain(*own_));
    }
    if (is_begun && !request_.resume && !request_.force) refuse_unfinished(request_.folder);
    const bool has_siblings = request_.part.world > 1;
    if (begins_anew() && !has_siblings) discard_own();
  }

  void discard_own() {
    discards_.push_back(own_->path);
    own_ = nullptr;
  }

  // Whether what the folder holds, if anything, may be replaced.
  bool may_replace() const {
    if (request_.force) return true;
    if (!was_begun()) return !is_occupied(request_.folder);
    const bool was_forced =
        std::ranges::any_of(own_->parts, [](const auto& j) { return j.content.forced; });
    return was_forced || checkpoint_files(request_.folder).empty();
  }

  std::unique_ptr<Destination> take(bool created_folder) {
    for (const fs::path& work : discards_) discard_work(work);
    const bool is_new = own_ == nullptr;
    const fs::path work =
        is_new ? create_work(request_.folder, request_.record, request_.sync) : own_->path;
    try {
      if (shares_shards()) make_pieces_folder(work, request_.sync);
      if (begins_anew()) remove_other_worlds();
      std::optional<FileLock> part = FileLock::try_take(work / journal_name(request_.part));
      if (!part) refuse_in_use(request_.folder);
      return std::unique_ptr<Destination>(
          new Destination(request_, work, std::move(*part), created_folder));
    } catch (...) {
      if (is_new) discard_work(work);
      throw;
    }
  }

  // Removes the journals of earlier runs with other numbers of parts.
  void remove_other_worlds() const {
    if (own_ == nullptr) return;
    for (const FoundJournal& journal : own_->parts) {
      if (journal.part.world != request_.part.world) remove_file(journal.path);
    }
  }

  const DestinationRequest& request_;
  std::vector<Work> works_;
  const Work* own_ = nullptr;  // the work that this record names
  std::vector<fs::path> discards_;
};

std::unique_ptr<Destination> Destination::claim(const DestinationRequest& request) {
  check_destination(request);
  // A finished checkpoint is only compared, so its folder need not be writable.
  const bool is_finished = is_occupied(request.folder) && !has_state(request.folder);
  if (is_finished && request.resume && !request.force) return nullptr;
  std::unique_ptr<Destination> destination = Claim(request).make();
  if (destination) destination->sync_adopted();
  return destination;
}

}  // namespace mxferry::internal
