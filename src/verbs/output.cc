#include "verbs/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "checkpoint/manifest.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"
#include "mxferry/error.h"
#include "verbs/rank_files.h"
#include "verbs/side_files.h"

namespace mxferry {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleName = "model.safetensors";

[[noreturn]] void fail(const fs::path& path, const char* operation, const std::error_code& error) {
  throw Error(
      ErrorCode::io_error,
      {.problem = std::string("cannot ") + operation + ": " + error.message(), .file = path});
}

}  // namespace

void remove_if_there(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) fail(path, "remove", error);
}

void unmark_checkpoint(const fs::path& folder) {
  remove_if_there(folder / kIndexName);
  remove_if_there(folder / kSingleName);
  remove_if_there(folder / kManifestName);
  for (const std::string& name : list_folder(folder)) {
    if (is_rank_file(name)) remove_if_there(folder / name);
  }
}

void remove_other_weights(const fs::path& folder, const std::vector<std::string>& kept) {
  for (const std::string& name : list_folder(folder)) {
    // A process that was killed leaves unfinished ones.
    const bool is_shard = name.starts_with("model") && (name.ends_with(".safetensors") ||
                                                        name.ends_with(".safetensors.partial"));
    if ((is_shard || is_rank_file(name)) && std::ranges::find(kept, name) == kept.end())
      remove_if_there(folder / name);
  }
}

std::string shard_name(std::size_t shard, std::size_t count) {
  if (count == 1) return kSingleName;
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, count);
}

OutputLayout lay_out(Catalog& catalog, const std::vector<std::string>& names,
                     const std::vector<std::map<std::string, std::string>>& metadata) {
  std::vector<std::vector<TensorInfo>> tensors(names.size());
  for (const StoredTensor& tensor : catalog) {
    tensors[tensor.shard].push_back({tensor.name, tensor.dtype, tensor.shape, 0, 0});
  }
  OutputLayout layout;
  // transformers refuses files whose metadata does not name a framework.
  const std::map<std::string, std::string> usual = {{"format", "pt"}};
  std::map<std::pair<std::size_t, std::string_view>, std::uint64_t> offsets;
  for (std::size_t shard = 0; shard < names.size(); ++shard) {
    NewHeader header = make_safetensors_header(std::move(tensors[shard]),
                                               metadata.empty() ? usual : metadata[shard]);
    const std::uint64_t size = file_size(header.header);
    layout.files.push_back({names[shard], std::move(header.bytes), size});
    layout.shards.push_back({names[shard], size, std::move(header.header.tensors)});
    for (const TensorInfo& tensor : layout.shards.back().tensors) {
      offsets[{shard, tensor.name}] = header.header.data_offset + tensor.begin;
    }
  }
  for (StoredTensor& tensor : catalog) tensor.offset = offsets.at({tensor.shard, tensor.name});
  return layout;
}

bool has_index(const std::vector<std::string>& names) {
  return names.size() > 1 && !is_rank_file(names[0]);
}

std::string index_text(const Catalog& catalog, const std::vector<std::string>& names) {
  ShardIndex index;
  std::uint64_t total = 0;
  for (const StoredTensor& tensor : catalog) {
    index.weight_map[tensor.name] = names[tensor.shard];
    total += tensor.byte_count;
  }
  index.total_size = total;
  return serialize_shard_index(index);
}

std::string dtypes_text(const Catalog& catalog) {
  nlohmann::json dtypes = nlohmann::json::object();
  for (const StoredTensor& tensor : catalog) {
    if (tensor.name.ends_with(".blocks")) {
      dtypes[tensor.name] = "FP4";
    } else if (tensor.name.ends_with(".scales")) {
      dtypes[tensor.name] = "UE8";
    } else {
      dtypes[tensor.name] = name(tensor.dtype);
    }
  }
  return dtypes.dump(2) + "\n";
}

OutputFolder::OutputFolder(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  created_ = fs::create_directories(path_, error);
  if (error) fail(path_, "create the folder", error);
  unmark_checkpoint(path_);
}

OutputFolder::~OutputFolder() {
  if (committed_) return;
  std::error_code ignored;
  for (const std::string& name : names_) fs::remove(path_ / name, ignored);
  if (created_) fs::remove(path_, ignored);
}

fs::path OutputFolder::add(const std::string& name) {
  names_.push_back(name);
  return path_ / name;
}

void OutputFolder::commit() {
  committed_ = true;
  remove_other_weights(path_, names_);
}

bool is_occupied(const fs::path& destination) {
  std::error_code error;
  const fs::file_status status = fs::status(destination, error);
  if (!fs::exists(status)) return false;
  return !fs::is_directory(status) || !fs::is_empty(destination, error);
}

void check_destination(const fs::path& destination, const fs::path& source) {
  std::error_code error;
  if (destination.empty())
    throw Error(ErrorCode::invalid_argument, {.problem = "the destination has no name"});
  if (fs::exists(destination, error) && !fs::is_directory(destination, error)) {
    throw Error(
        ErrorCode::invalid_argument,
        {.problem = "the destination must be a folder", .file = destination, .found = "a file"});
  }
  if (fs::equivalent(destination, source, error)) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "source and destination are the same folder",
                 .file = destination,
                 .advice = "Give a new folder; the source is never changed"});
  }
}

void refuse_occupied(const fs::path& destination) {
  throw Error(ErrorCode::destination_exists,
              {.problem = "the destination exists and is not empty",
               .file = destination,
               .advice = "Give a new folder, or --force to replace a checkpoint there"});
}

std::uint64_t free_bytes(const fs::path& path) {
  std::error_code error;
  fs::path existing = fs::absolute(path, error);
  while (!fs::exists(existing, error) && existing.has_relative_path())
    existing = existing.parent_path();
  const fs::space_info space = fs::space(existing, error);
  if (error) fail(existing, "read the free disk space", error);
  return space.available;
}

}  // namespace mxferry
