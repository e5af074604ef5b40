#include "verbs/claim.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "mxferry/error.h"
#include "verbs/conversion_record.h"
#include "verbs/output.h"

namespace mxferry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

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

bool create_folder(const fs::path& folder) {
  std::error_code error;
  const bool created = fs::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::io_error,
                {.problem = "cannot create the folder: " + error.message(), .file = folder});
  }
  return created;
}

// Whether the folder has anything but journals.
bool has_files(const fs::path& folder) {
  return std::ranges::any_of(list_folder(folder), [](const std::string& name) {
    return !name.starts_with(kJournalPrefix);
  });
}

bool is_whole_file(const fs::path& path, std::uint64_t size) {
  return is_file(path) && File::open_for_reading(path).size() == size;
}

}  // namespace

Claim::Claim(fs::path folder, const Json& record, const ClaimOptions& options)
    : folder_(std::move(folder)),
      created_(create_folder(folder_)),
      has_parts_(options.part.world > 1) {
  // In this order: another part that has files here has a journal here already.
  const bool occupied = has_files(folder_);
  std::vector<FoundJournal> others = find_journals(folder_);
  const auto is_own = [&](const FoundJournal& found) {
    return found.part.rank == options.part.rank && found.part.world == options.part.world;
  };
  const bool was_begun = std::ranges::any_of(others, [&](const FoundJournal& found) {
    return is_own(found) && !found.content.conversion.is_null();
  });
  std::erase_if(others, is_own);
  if (!was_begun && others.empty() && occupied && !options.force) refuse_occupied(folder_);
  for (const FoundJournal& other : others) refuse_other(other, record, options);
  journal_.emplace(folder_, options.part, options.sync);
  try {
    take_over(record, others, options);
  } catch (...) {
    if (!was_begun) ::unlink(journal_->path().c_str());
    throw;
  }
}

// Throws where this part cannot be of one conversion with the other.
void Claim::refuse_other(const FoundJournal& other, const Json& record,
                         const ClaimOptions& options) const {
  const bool is_sibling = other.part.world == options.part.world;
  const bool in_use = File::is_taken(other.path);
  if (in_use && !is_sibling) {
    throw Error(ErrorCode::destination_in_use,
                {.problem = "another process is converting to this folder",
                 .file = folder_,
                 .advice = "Wait for it, or give another folder"});
  }
  // Begun a moment ago.
  if (is_sibling && other.content.conversion.is_null()) return;
  const auto change = explain_change(other.content.conversion, record);
  if (change && (in_use || !options.force)) refuse_changed(folder_, *change);
  if (!is_sibling && !options.resume && !options.force) refuse_unfinished(folder_);
}

void Claim::take_over(const Json& record, const std::vector<FoundJournal>& others,
                      const ClaimOptions& options) {
  const JournalContent found = journal_->content();
  const bool goes_on = !found.conversion.is_null() && !options.force;
  if (goes_on) {
    if (!options.resume) refuse_unfinished(folder_);
    if (const auto change = explain_change(found.conversion, record)) {
      refuse_changed(folder_, *change);
    }
    adopt(record, found);
  } else {
    if (others.empty()) unmark_checkpoint(folder_);
    journal_->begin(record);
  }
  for (const FoundJournal& other : others) {
    if (other.content.conversion == record) {
      if (!options.force) adopt(record, other.content);
    } else if (!other.content.conversion.is_null()) {
      remove_if_there(other.path);
    }
  }
}

// Counts on the shards that a journal calls finished, as far as they are there.
void Claim::adopt(const Json& record, const JournalContent& content) {
  for (const RecordedFile& file : recorded_files(record)) {
    if (content.shards.contains(file.name) && is_whole_file(folder_ / file.name, file.size)) {
      finished_.insert(file.name);
    }
  }
}

Claim::~Claim() {
  if (journal_->content().done || is_worth_resuming()) return;
  std::error_code ignored;
  for (const std::string& name : added_) fs::remove(folder_ / name, ignored);
  fs::remove(journal_->path(), ignored);
  if (created_) fs::remove(folder_, ignored);
}

bool Claim::is_worth_resuming() const noexcept {
  return has_parts_ || !finished_.empty();
}

fs::path Claim::add(const std::string& name) {
  added_.push_back(name);
  return folder_ / name;
}

void Claim::note_side_files(const std::vector<std::string>& names) {
  journal_->note_side_files(names);
}

void Claim::note_shard(const std::string& name, const std::string& sha256) {
  const std::lock_guard lock(noting_);
  // First: should the noting fail, the shard is there all the same, and its journal must stay.
  finished_.insert(name);
  journal_->note_shard(name, sha256);
}

void Claim::note_shared(const std::string& name) {
  const std::lock_guard lock(noting_);
  journal_->note_shared(name);
}

void Claim::note_done() {
  journal_->note_done();
}

}  // namespace mxferry
