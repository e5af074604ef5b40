#include "checkpoint/folder.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/text.h"
#include "checkpoint/dcp_metadata.h"
#include "checkpoint/folder_hints.h"
#include "checkpoint/git_lfs.h"
#include "checkpoint/join_chunks.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

// The name of a model's only file.
constexpr const char* kSingleFile = "model.safetensors";

void sort_by_name(std::vector<FolderTensor>& tensors) {
  std::ranges::sort(tensors, {}, [](const FolderTensor& tensor) -> const std::string& {
    return tensor.info.name;
  });
}

void refuse_short_file(const SafetensorsHeader& header, const File& file) {
  const std::uint64_t size = file.size();
  if (size >= file_size(header)) return;
  throw Error(ErrorCode::incomplete_download,
              {.problem = "the file was cut short: it ends before its last tensor does",
               .expected = std::to_string(file_size(header)) + " bytes",
               .found = std::to_string(size),
               .advice = "Copy or download it again"});
}

// Reads one folder, step by step, into a Folder.
class FolderReader {
 public:
  explicit FolderReader(const fs::path& path);
  Folder read() &&;

 private:
  bool has_file(std::string_view name) const { return std::ranges::binary_search(names_, name); }
  void report(Severity severity, const Error& error, std::string_view file);

  std::optional<ShardIndex> read_index();
  bool is_outdated(const ShardIndex& index);
  void read_listed(const ShardIndex& index);
  void read_all();
  void read_shard(const std::string& name);
  fs::path follow(const std::string& name) const;

  void take_listed_tensors(const ShardIndex& index);
  void refuse_listed_chunks();
  void take_all_tensors();
  void take_chunks();
  void report_collision(const ShardFile& shard, const ShardFile& other,
                        const std::vector<std::string_view>& names);
  void note_missing_entries(const ShardIndex& index);
  void check_total_size(const ShardIndex& index);
  void warn_of_unlisted_files(const ShardIndex& index);
  void warn_without_index();
  void report_training_state(const std::string& name);
  void report_unfinished_downloads(bool knows_all_files);
  void report_unfinished_conversion();

  Folder folder_;
  fs::path resolved_;
  std::vector<std::string> names_;       // of all files and folders in it, sorted
  std::set<std::string> unreadable_;     // shards, each with a fatal problem
  std::set<std::string_view> unlisted_;  // tensors that the index lacks, in files that it lists
};

FolderReader::FolderReader(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw Error(ErrorCode::not_a_checkpoint, {.problem = "there is no such folder", .file = path});
  }
  if (!fs::is_directory(status)) {
    throw Error(ErrorCode::not_a_checkpoint, {.problem = "this is not a folder",
                                              .file = path,
                                              .advice = "Give the folder that holds the file"});
  }
  names_ = list_folder(path);
  resolved_ = fs::canonical(path, error);
  if (error) {
    throw Error(ErrorCode::io_error,
                {.problem = "cannot read the folder: " + error.message(), .file = path});
  }
  folder_.path = path;
}

Folder FolderReader::read() && {
  std::optional<ShardIndex> index = read_index();
  if (index && is_outdated(*index)) index.reset();
  if (index) {
    read_listed(*index);
  } else {
    read_all();
  }
  report_unfinished_downloads(index.has_value());
  report_unfinished_conversion();
  return std::move(folder_);
}

// `file` is relative to the folder. The text omits the file and the tensor, which Problem holds in
// fields of their own.
void FolderReader::report(Severity severity, const Error& error, std::string_view file) {
  ErrorDetails details = error.details();
  details.file.clear();
  const std::string tensor = std::exchange(details.tensor, {});
  folder_.problems.push_back({.severity = severity,
                              .code = error.code(),
                              .file = printable(file),
                              .tensor = printable(tensor),
                              .text = Error(error.code(), std::move(details)).what()});
}

std::optional<ShardIndex> FolderReader::read_index() {
  folder_.has_index = has_file(kIndexName);
  if (!folder_.has_index) return std::nullopt;
  try {
    const fs::path path = follow(kIndexName);
    std::string text = read_text_file(path, kLargestIndex);
    if (is_git_lfs_pointer(text)) {
      throw Error(ErrorCode::git_lfs_pointer,
                  {.problem = "this is a Git LFS pointer, not the index",
                   .advice = "Run `git lfs pull` in the folder"});
    }
    return parse_shard_index(std::move(text), path);
  } catch (const Error& error) {
    report(Severity::fatal, error, kIndexName);
    return std::nullopt;
  }
}

// Whether somebody has put the weights into one file since, which loaders then take.
bool FolderReader::is_outdated(const ShardIndex& index) {
  const bool has_listed = std::ranges::any_of(
      index.weight_map, [&](const auto& entry) { return is_there(resolved_ / entry.second); });
  if (has_listed || !has_file(kSingleFile)) return false;
  report(Severity::warning,
         Error(ErrorCode::invalid_index,
               {.problem = "none of the files that the index lists is there; " +
                           std::string(kSingleFile) + " is read, as loaders do",
                .advice = "Remove the index"}),
         kIndexName);
  folder_.has_index = false;
  return true;
}

void FolderReader::read_listed(const ShardIndex& index) {
  std::set<std::string> names;
  for (const auto& [tensor, file] : index.weight_map) names.insert(file);
  for (const std::string& name : names) {
    // note_missing_entries() handles missing files.
    if (is_there(resolved_ / name)) read_shard(name);
  }
  take_listed_tensors(index);
  refuse_listed_chunks();
  note_missing_entries(index);
  check_total_size(index);
  warn_of_unlisted_files(index);
}

void FolderReader::read_all() {
  std::vector<std::string> names;
  std::ranges::copy_if(names_, std::back_inserter(names), is_shard_name);
  for (const std::string& name : names) read_shard(name);
  folder_.is_distributed = std::ranges::any_of(folder_.shards, [](const ShardFile& shard) {
    return shard.header.metadata.contains(kShardingInfoKey);
  });
  if (folder_.is_distributed) {
    take_chunks();
  } else {
    take_all_tensors();
  }
  if (folder_.has_index) return;  // unusable, which is reported
  if (names.empty()) {
    report(Severity::fatal, explain_no_model(folder_.path, names_), "");
  } else {
    warn_without_index();
  }
}

// Resolves a name in the folder, following links. Throws Error: missing_shard (a link leads
// nowhere), not_a_checkpoint (a link leaves the folder), io_error.
fs::path FolderReader::follow(const std::string& name) const {
  std::error_code error;
  fs::path target = fs::canonical(resolved_ / name, error);
  if (error) {
    const bool is_missing = error == std::errc::no_such_file_or_directory ||
                            error == std::errc::too_many_symbolic_link_levels;
    throw Error(is_missing ? ErrorCode::missing_shard : ErrorCode::io_error,
                {.problem = "this link cannot be followed: " + error.message(),
                 .advice = "Copy or download the file again"});
  }
  if (!link_stays_inside(resolved_, target)) {
    throw Error(ErrorCode::not_a_checkpoint, {.problem = "this is a link that leaves the folder",
                                              .found = target.string(),
                                              .advice = "Put the file itself into the folder"});
  }
  return target;
}

void FolderReader::read_shard(const std::string& name) {
  try {
    ShardFile shard{.name = name, .path = follow(name), .header = {}};
    const File file = File::open_for_reading(shard.path);
    shard.header = read_header_of_any_length(file);
    refuse_short_file(shard.header, file);
    check_file_size(shard.header, file);
    folder_.shards.push_back(std::move(shard));
  } catch (const Error& caught) {
    unreadable_.insert(name);
    report(Severity::fatal, caught, name);
  }
}

void FolderReader::take_listed_tensors(const ShardIndex& index) {
  for (std::size_t i = 0; i < folder_.shards.size(); ++i) {
    const ShardFile& shard = folder_.shards[i];
    std::vector<std::string_view> elsewhere;
    std::vector<std::string_view> unlisted;
    std::vector<std::string_view> twice;
    for (const TensorInfo& info : shard.header.tensors) {
      const auto entry = index.weight_map.find(info.name);
      const bool is_listed = entry != index.weight_map.end();
      if (is_listed && entry->second != shard.name) {
        elsewhere.emplace_back(info.name);
        continue;
      }
      if (!is_listed && !unlisted_.insert(info.name).second) {
        twice.emplace_back(info.name);
        continue;
      }
      if (!is_listed) unlisted.emplace_back(info.name);
      folder_.tensors.push_back({i, info});
    }
    if (!twice.empty()) {
      report(Severity::fatal,
             Error(ErrorCode::name_collision,
                   {.problem = "tensors of this file that the index does not list are in another "
                               "file too",
                    .found = count_and_names(twice),
                    .advice = "List in the index the ones that belong to the model"}),
             shard.name);
    }
    if (!elsewhere.empty()) {
      report(Severity::warning,
             Error(ErrorCode::invalid_index,
                   {.problem = "the index lists some tensors of this file in others; those are "
                               "converted, not these",
                    .found = count_and_names(elsewhere)}),
             shard.name);
    }
    if (!unlisted.empty()) {
      report(Severity::note,
             Error(ErrorCode::invalid_index,
                   {.problem = "the index does not list some tensors of this file; they are "
                               "converted, as loaders read them",
                    .found = count_and_names(unlisted)}),
             shard.name);
    }
  }
  sort_by_name(folder_.tensors);
}

// An index lists whole tensors. torch writes its chunk information into files of whole tensors too,
// so only chunks that do not begin at 0 are refused.
void FolderReader::refuse_listed_chunks() {
  for (std::size_t i = 0; i < folder_.shards.size(); ++i) {
    const ShardFile& shard = folder_.shards[i];
    try {
      const std::optional<ChunkOffsets> offsets = read_chunk_offsets(shard.header, {});
      if (!offsets) continue;
      for (const FolderTensor& tensor : folder_.tensors) {
        if (tensor.shard != i) continue;
        const Shape& begin = offsets->at(tensor.info.name);
        if (std::ranges::all_of(begin, [](std::int64_t offset) { return offset == 0; })) continue;
        throw Error(
            ErrorCode::invalid_index,
            {.problem = "the index lists this file for a tensor of which it holds only a part",
             .tensor = tensor.info.name,
             .found = to_string(tensor.info.shape) + " from " + to_string(begin) + " on",
             .advice = "Remove " + std::string(kIndexName) + " if the files are those of ranks"});
      }
    } catch (const Error& error) {
      report(Severity::fatal, error, shard.name);
    }
  }
}

void FolderReader::take_chunks() {
  folder_.tensors = join_chunks(
      folder_.shards, !unreadable_.empty(),
      [this](const Error& error, std::string_view file) { report(Severity::fatal, error, file); });
}

void FolderReader::take_all_tensors() {
  std::map<std::string_view, std::size_t> shard_of;
  for (std::size_t i = 0; i < folder_.shards.size(); ++i) {
    const ShardFile& shard = folder_.shards[i];
    std::vector<std::string_view> colliding;
    std::size_t other = 0;
    for (const TensorInfo& info : shard.header.tensors) {
      const auto [place, is_new] = shard_of.emplace(info.name, i);
      if (is_new) {
        folder_.tensors.push_back({i, info});
      } else {
        if (colliding.empty()) other = place->second;
        colliding.emplace_back(info.name);
      }
    }
    if (!colliding.empty()) report_collision(shard, folder_.shards[other], colliding);
  }
  sort_by_name(folder_.tensors);
}

void FolderReader::report_collision(const ShardFile& shard, const ShardFile& other,
                                    const std::vector<std::string_view>& names) {
  report(Severity::fatal,
         Error(ErrorCode::name_collision,
               {.problem = "tensors of this file are also in " + other.name,
                .found = count_and_names(names),
                .advice = "Remove the file that does not belong to the model, or add " +
                          std::string(kIndexName)}),
         shard.name);
}

void FolderReader::note_missing_entries(const ShardIndex& index) {
  auto found = folder_.tensors.begin();
  for (const auto& [tensor, file] : index.weight_map) {
    // Tensors that the index lacks lie in between.
    while (found != folder_.tensors.end() && found->info.name < tensor) ++found;
    if (found != folder_.tensors.end() && found->info.name == tensor) continue;
    if (!unreadable_.contains(file)) {
      const bool file_exists =
          std::ranges::binary_search(folder_.shards, file, {}, &ShardFile::name);
      folder_.missing.push_back({.tensor = tensor, .file = file, .file_exists = file_exists});
    }
  }
}

void FolderReader::check_total_size(const ShardIndex& index) {
  const bool is_partial = !folder_.missing.empty() || !unreadable_.empty() || !unlisted_.empty();
  if (!index.total_size || is_partial) return;
  std::uint64_t size = 0;
  for (const FolderTensor& tensor : folder_.tensors) size += tensor.info.end - tensor.info.begin;
  if (size == *index.total_size) return;
  report(Severity::warning,
         Error(ErrorCode::invalid_index,
               {.problem = "total_size is not the size of the tensors that the index lists",
                .expected = std::to_string(size),
                .found = std::to_string(*index.total_size)}),
         kIndexName);
}

void FolderReader::warn_of_unlisted_files(const ShardIndex& index) {
  std::set<std::string_view> listed;
  for (const auto& [tensor, file] : index.weight_map) listed.insert(file);
  for (const std::string& name : names_) {
    if (!is_safetensors_name(name) || listed.contains(name)) continue;
    if (is_training_state(name)) {
      report_training_state(name);
      continue;
    }
    report(Severity::warning,
           Error(ErrorCode::invalid_index,
                 {.problem = "the index does not mention this file; it is not converted"}),
           name);
  }
}

void FolderReader::report_training_state(const std::string& name) {
  report(Severity::note,
         Error(ErrorCode::not_a_checkpoint,
               {.problem = "this is a trainer's state beside the model; it is not converted"}),
         name);
}

void FolderReader::warn_without_index() {
  if (folder_.shards.size() + unreadable_.size() > 1 && !folder_.is_distributed) {
    report(Severity::warning,
           Error(ErrorCode::invalid_index,
                 {.problem = "several files without " + std::string(kIndexName) +
                             "; nothing tells whether all are there"}),
           "");
  }
  for (const std::string& name : names_) {
    if (!is_safetensors_name(name) || is_shard_name(name)) continue;
    if (is_training_state(name)) {
      report_training_state(name);
      continue;
    }
    report(Severity::warning,
           Error(ErrorCode::lora_adapter,
                 {.problem = "this is a LoRA adapter beside the model; it is not converted"}),
           name);
  }
}

// An earlier checkpoint stays whole while a new one is made beside it; only during the publication
// does the folder hold a mixture of both.
void FolderReader::report_unfinished_conversion() {
  const fs::path state = resolved_ / kStateFolder;
  const bool is_replaced = is_there(state / kPublicationName);
  const bool has_work =
      is_folder(state) && std::ranges::any_of(list_folder(state), [&](auto& name) {
        return !name.starts_with(kTrashPrefix) && is_folder(state / name);
      });
  const bool has_older_journal = std::ranges::any_of(
      names_, [](const std::string& name) { return name.starts_with(kOlderJournalPrefix); });
  const bool is_older = has_older_journal && !folder_.has_index;
  if (!is_replaced && !has_work && !is_older) return;
  const bool is_usable = !folder_.shards.empty() && !is_replaced && !is_older;
  report(
      is_usable ? Severity::warning : Severity::fatal,
      Error(ErrorCode::unfinished_conversion,
            {.problem = is_usable ? "a conversion to this folder is not finished; this is what was "
                                    "there before"
                                  : "a conversion to this folder is not finished",
             .advice = is_replaced ? "Run `mxferry finish` on the folder"
                                   : "Run it again with --resume; after the last of several "
                                     "parts run `mxferry finish` on the folder"}),
      "");
  // Move it to the front, since it explains the others.
  std::ranges::rotate(folder_.problems, std::prev(folder_.problems.end()));
}

// Fatal if needed weights may be missing.
void FolderReader::report_unfinished_downloads(bool knows_all_files) {
  const std::vector<fs::path> files = unfinished_downloads(resolved_);
  if (files.empty()) return;
  const bool lacks_a_file =
      folder_.shards.empty() ||
      std::ranges::any_of(folder_.missing, [](const MissingEntry& e) { return !e.file_exists; });
  const bool is_of_weights = std::ranges::any_of(files, [](const fs::path& file) {
    return file.filename().native().find(".safetensors.") != std::string::npos;
  });
  const bool is_fatal = lacks_a_file || (is_of_weights && !knows_all_files);
  const fs::path& first = files.front();
  const fs::path shown = first.lexically_relative(resolved_);
  report(is_fatal ? Severity::fatal : Severity::warning,
         Error(ErrorCode::incomplete_download,
               {.problem = "a download was not finished",
                .found =
                    std::to_string(files.size()) + " unfinished in " + first.parent_path().string(),
                .advice = "Run the download again; it goes on where it stopped"}),
         shown.native());
}

}  // namespace

Folder open_folder(const fs::path& path) {
  return FolderReader(path).read();
}

}  // namespace mxferry::internal
