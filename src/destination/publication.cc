#include "destination/publication.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "checkpoint/folder.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard_index.h"
#include "destination/name_text.h"
#include "destination/shard_files.h"
#include "destination/state_folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kOldFolder = "old";
constexpr std::uint64_t kLargestPublication = std::uint64_t{64} << 20;

// The files that loaders look for first: without them, the folder is not taken for a checkpoint.
constexpr std::array<std::string_view, 2> kMarks = {"config.json", kIndexName};

bool is_mark(const std::string& name) {
  return std::ranges::find(kMarks, name) != kMarks.end();
}

// Whether the name is that of a checkpoint's file, or of an older release's journal.
bool is_fixed_name(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames = {"config.json", kIndexName, kManifestName,
                                                      "dtypes.json"};
  return std::ranges::find(kNames, name) != kNames.end() || name.starts_with(kOlderJournalPrefix);
}

// Whether checkpoint_files() can return the name. The publication is an untrusted file: it cannot
// have other files removed, except those that it replaces.
bool is_checkpoint_name(std::string_view name) {
  return is_fixed_name(name) || is_weights_name(name) || name.ends_with(".safetensors");
}

struct Publication {
  std::string work;
  std::vector<std::string> install;
  std::vector<std::string> remove;
  bool sync = true;
};

fs::path publication_path(const fs::path& destination) {
  return state_folder(destination) / kPublicationName;
}

Publication read_publication(const fs::path& destination) {
  const fs::path path = publication_path(destination);
  const Json json = Json::parse(read_text_file(path, kLargestPublication), nullptr, false);
  const auto names = [&](const char* key) {
    return json.is_object() ? names_from_json(json.value(key, Json())) : std::vector<std::string>();
  };
  Publication publication{.work = {}, .install = names("install"), .remove = names("remove")};
  const std::vector<std::string> work = names("work");
  if (work.size() != 1 || !is_work_name(work[0]) || publication.install.empty()) {
    throw Error(
        ErrorCode::invalid_argument,
        {.problem = "the file is damaged", .file = path, .advice = "Convert anew, with --force"});
  }
  publication.work = work[0];
  publication.sync = json.value("sync", Json()) != false;
  return publication;
}

void write_publication(const fs::path& destination, const Publication& publication) {
  const Json json = {{"work", to_json_texts({publication.work})},
                     {"install", to_json_texts(publication.install)},
                     {"remove", to_json_texts(publication.remove)},
                     {"sync", publication.sync}};
  write_text_file(publication_path(destination), json.dump() + "\n", publication.sync);
}

// Performs the steps of a publication, skipping those already done.
class Switch {
 public:
  Switch(const fs::path& destination, const Publication& publication)
      : destination_(destination),
        publication_(publication),
        work_(state_folder(destination) / publication.work),
        files_(work_ / kFilesFolder),
        old_(state_folder(destination) / kOldFolder) {
    if (!is_real_folder(files_)) return;
    for (const std::string& name : list_folder(files_)) {
      if (!is_real_folder(files_ / name)) {
        waiting_.insert(name);
        continue;
      }
      for (const std::string& below : list_folder(files_ / name)) {
        waiting_.insert(name + "/" + below);
      }
    }
  }

  void run() const {
    refuse_losses();
    if (set_old_aside()) sync();
    install([](const std::string& name) { return !is_mark(name); });
    sync();
    install([](const std::string& name) { return name == kIndexName; });
    install([](const std::string& name) { return is_mark(name) && name != kIndexName; });
    sync();
    if (is_real_folder(work_)) discard_work(work_);
    if (is_real_folder(old_)) discard_work(old_);
    remove_file(publication_path(destination_));
  }

 private:
  void refuse_losses() const {
    for (const std::string& name : publication_.install) {
      if (waiting_.contains(name) || is_file(destination_ / name)) continue;
      throw Error(ErrorCode::invalid_argument, {.problem = "a file of the new checkpoint is lost",
                                                .file = destination_ / name,
                                                .advice = "Convert anew, with --force"});
    }
  }

  // The files to move aside. Files that were already installed are not among them.
  std::vector<std::string> old_files() const {
    const std::set<std::string> install(publication_.install.begin(), publication_.install.end());
    std::vector<std::string> old;
    for (const std::string& name : publication_.remove) {
      const fs::path parent = (destination_ / name).parent_path();
      if (parent != destination_ && !is_real_folder(parent)) continue;  // behind a link
      const bool is_known = is_checkpoint_name(name) || install.contains(name);
      if (is_known && (!install.contains(name) || waiting_.contains(name))) old.push_back(name);
    }
    // The files that mark the folder as a checkpoint come first.
    std::ranges::stable_partition(old, is_mark);
    return old;
  }

  // Returns whether there were old files. If one cannot be moved, puts all back and throws.
  bool set_old_aside() const {
    const std::vector<std::string> old = old_files();
    if (old.empty()) return false;
    try {
      std::error_code error;
      fs::create_directory(old_, error);
      if (!is_real_folder(old_)) {
        throw Error(ErrorCode::io_error, {.problem = "cannot create the folder", .file = old_});
      }
      for (const std::string& name : old) {
        make_folder_of(old_, name);
        fs::rename(destination_ / name, old_ / name, error);
        if (!error || error == std::errc::no_such_file_or_directory) continue;
        throw Error(ErrorCode::io_error, {.problem = "cannot replace the file: " + error.message(),
                                          .file = destination_ / name});
      }
    } catch (const Error& error) {
      put_back(error);
    }
    return true;
  }

  [[noreturn]] void put_back(const Error& cause) const {
    if (is_real_folder(old_)) {
      for (const std::string& name : list_folder(old_)) {
        if (!is_real_folder(old_ / name)) {
          rename_file(old_ / name, destination_ / name);
          continue;
        }
        for (const std::string& below : list_folder(old_ / name)) {
          rename_file(old_ / name / below, destination_ / name / below);
        }
      }
      remove_folder(old_);
    }
    sync();
    remove_file(publication_path(destination_));
    ErrorDetails details = cause.details();
    details.advice =
        "The old checkpoint is as it was, and the new one is whole. When the file can be moved, "
        "run "
        "`mxferry finish` on the folder; else convert to another folder";
    throw Error(cause.code(), std::move(details));
  }

  template <typename Predicate>
  void install(Predicate is_wanted) const {
    for (const std::string& name : publication_.install) {
      if (!is_wanted(name) || !waiting_.contains(name)) continue;
      make_folder_of(destination_, name);
      rename_file(files_ / name, destination_ / name);
    }
  }

  void sync() const {
    if (!publication_.sync) return;
    sync_carried_folders(destination_);
    sync_folder(destination_);
  }

  const fs::path& destination_;
  const Publication& publication_;
  fs::path work_;
  fs::path files_;
  fs::path old_;
  std::set<std::string> waiting_;  // files that are still in the work
};

// Nothing is written through a link.
void refuse_links(const fs::path& destination, const std::vector<std::string>& files) {
  for (const std::string& name : files) {
    const fs::path parent = (destination / name).parent_path();
    if (parent == destination || !is_there(parent) || is_real_folder(parent)) continue;
    throw Error(ErrorCode::destination_exists,
                {.problem = "a file or a link has the name of a folder that is to be written",
                 .file = parent,
                 .advice = "Move it away, then run `mxferry finish` on the destination"});
  }
}

void refuse_folders(const fs::path& destination, const std::vector<std::string>& files) {
  refuse_links(destination, files);
  for (const std::string& name : files) {
    if (!is_real_folder(destination / name)) continue;
    throw Error(ErrorCode::destination_exists,
                {.problem = "a folder has the name of a file that is to be written",
                 .file = destination / name,
                 .advice = "Move it away, then run `mxferry finish` on the destination"});
  }
}

// The files that the index lists; none if it cannot be read.
std::vector<std::string> listed_files(const fs::path& folder) {
  std::vector<std::string> names;
  try {
    const fs::path path = folder / kIndexName;
    if (!is_file(path)) return names;
    const ShardIndex index = parse_shard_index(read_text_file(path, kLargestIndex), path);
    for (const auto& [tensor, file] : index.weight_map) names.push_back(file);
  } catch (const Error&) {
    names.clear();  // the index is unreadable
  }
  return names;
}

}  // namespace

std::vector<std::string> checkpoint_files(const fs::path& folder) {
  const std::vector<std::string> listed = listed_files(folder);
  std::vector<std::string> found;
  for (const std::string& name : list_folder(folder)) {
    const bool is_listed = std::ranges::find(listed, name) != listed.end();
    const bool is_own = is_fixed_name(name) || is_weights_name(name);
    if ((is_own || is_listed) && !is_real_folder(folder / name)) found.push_back(name);
  }
  return found;
}

void publish(const fs::path& destination, const fs::path& work,
             const std::vector<std::string>& files, bool sync) {
  refuse_folders(destination, files);
  std::vector<std::string> replaced = checkpoint_files(destination);
  for (const std::string& name : files) {
    const bool is_new =
        !is_there(destination / name) || std::ranges::find(replaced, name) != replaced.end();
    if (!is_new) replaced.push_back(name);
  }
  const Publication publication{.work = work.filename().string(),
                                .install = files,
                                .remove = std::move(replaced),
                                .sync = sync};
  write_publication(destination, publication);
  Switch(destination, publication).run();
}

void complete_publication(const fs::path& destination) {
  if (!is_there(publication_path(destination))) return;
  const Publication publication = read_publication(destination);
  refuse_links(destination, publication.install);
  Switch(destination, publication).run();
}

void drop_publication(const fs::path& destination) {
  remove_file(publication_path(destination));
}

}  // namespace mxferry::internal
