#include "verbs/source_checkpoint.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "gpt_oss/config_json.h"
#include "mxferry/error.h"

namespace mxferry {
namespace {

constexpr std::uint64_t kLargestConfig = std::uint64_t{16} << 20;

Catalog make_catalog(const Folder& folder) {
  Catalog catalog;
  catalog.reserve(folder.tensors.size());
  for (const FolderTensor& tensor : folder.tensors) {
    const std::uint64_t data = folder.shards[tensor.shard].header.data_offset;
    const TensorInfo& info = tensor.info;
    catalog.push_back({info.name, info.dtype, info.shape, tensor.shard, data + info.begin,
                       info.end - info.begin});
  }
  return catalog;
}

std::optional<std::string> read_config(const std::filesystem::path& folder,
                                       std::vector<Problem>& problems) {
  const std::filesystem::path path = folder / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    problems.push_back({Severity::warning, ErrorCode::invalid_config, "config.json", "",
                        "the file is missing; the sizes are taken from the tensors, and the "
                        "target will have none"});
    return std::nullopt;
  }
  if (!link_stays_inside(folder, std::filesystem::weakly_canonical(path, ignored))) {
    problems.push_back({Severity::fatal, ErrorCode::invalid_config, "config.json", "",
                        "the file is a link that leaves the folder"});
    return std::nullopt;
  }
  return read_text_file(path, kLargestConfig);
}

std::optional<GptOssConfig> parse_sizes(const SourceCheckpoint& checkpoint,
                                        std::vector<Problem>& problems) {
  if (!checkpoint.config_text) return std::nullopt;
  try {
    return parse_config(*checkpoint.config_text, "config.json");
  } catch (const Error& error) {
    problems.push_back({Severity::fatal, error.code(), "config.json", "", error.what()});
    return std::nullopt;
  }
}

}  // namespace

SourceCheckpoint open_source(const std::string& source) {
  SourceCheckpoint checkpoint;
  checkpoint.folder = open_folder(resolve_source(source));
  checkpoint.catalog = make_catalog(checkpoint.folder);
  checkpoint.problems = checkpoint.folder.problems;
  checkpoint.config_text = read_config(checkpoint.folder.path, checkpoint.problems);
  std::vector<MissingName> missing;
  for (const MissingEntry& entry : checkpoint.folder.missing) {
    missing.push_back({entry.tensor, entry.file, entry.file_exists});
  }
  // Without a single tensor the folder's own problems say why.
  if (!checkpoint.catalog.empty() || checkpoint.problems.empty()) {
    checkpoint.description =
        probe(checkpoint.catalog, missing, parse_sizes(checkpoint, checkpoint.problems));
  }
  std::ranges::copy(checkpoint.description.problems, std::back_inserter(checkpoint.problems));
  std::ranges::stable_sort(checkpoint.problems, std::ranges::greater(), &Problem::severity);
  return checkpoint;
}

void require_sound(const SourceCheckpoint& checkpoint) {
  if (checkpoint.problems.empty() || checkpoint.problems[0].severity != Severity::fatal) return;
  const Problem& problem = checkpoint.problems[0];
  throw Error(problem.code, {.problem = problem.text,
                             .file = problem.file.empty() ? checkpoint.folder.path
                                                          : checkpoint.folder.path / problem.file,
                             .tensor = problem.tensor});
}

}  // namespace mxferry
