#include "source/source_checkpoint.h"

#include <algorithm>
#include <map>
#include <span>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/weights_folder.h"
#include "flow/source.h"
#include "gpt_oss/config_facts.h"
#include "gpt_oss/restore_names.h"
#include "gpt_oss/stacks.h"
#include "mxferry/error.h"
#include "mxfp4/fingerprint.h"

namespace mxferry::internal {
namespace {

// Moves the tensors' names and shapes out of the folder.
Catalog make_catalog(Folder& folder) {
  Catalog catalog;
  catalog.reserve(folder.tensors.size());
  const auto in_file = [&](std::size_t shard, std::uint64_t begin) {
    return folder.shards[shard].header.data_offset + begin;
  };
  for (FolderTensor& tensor : folder.tensors) {
    const std::uint64_t begin = in_file(tensor.shard, tensor.info.begin);
    const std::uint64_t bytes = byte_count(tensor.info, {});
    catalog.push_back({std::move(tensor.info.name), tensor.info.dtype, std::move(tensor.info.shape),
                       tensor.shard, begin, bytes});
    for (FolderChunk& chunk : tensor.chunks) {
      catalog.back().chunks.push_back({std::move(chunk.offsets), std::move(chunk.sizes),
                                       chunk.shard, in_file(chunk.shard, chunk.begin)});
    }
  }
  folder.tensors = {};
  return catalog;
}

// The path of config.json relative to the weights folder, for problem reports.
std::string config_name(const SourceCheckpoint& checkpoint) {
  return (checkpoint.side_folder / "config.json").lexically_relative(checkpoint.folder.path);
}

std::optional<std::string> read_config(const SourceCheckpoint& checkpoint,
                                       std::vector<Problem>& problems) {
  const std::filesystem::path path = checkpoint.side_folder / "config.json";
  std::error_code ignored;
  if (!is_there(path)) {
    problems.push_back(
        {Severity::warning, ErrorCode::invalid_config, config_name(checkpoint), "",
         std::string("the file is missing; the sizes are taken from the tensors, and the target "
                     "will have none") +
             (checkpoint.folder.is_distributed
                  ? ". Nothing tells whether the file of the last rank is there"
                  : "")});
    return std::nullopt;
  }
  if (!link_stays_inside(checkpoint.folder.path,
                         std::filesystem::weakly_canonical(path, ignored))) {
    problems.push_back({Severity::fatal, ErrorCode::invalid_config, config_name(checkpoint), "",
                        "the file is a link that leaves the folder"});
    return std::nullopt;
  }
  try {
    return read_text_file(path, kLargestConfig);
  } catch (const Error& error) {
    if (category(error.code()) == ErrorCategory::system) throw;
    problems.push_back(
        {Severity::fatal, ErrorCode::invalid_config, "config.json", "", error.details().problem});
    return std::nullopt;
  }
}

ConfigFacts read_facts(const SourceCheckpoint& checkpoint, std::vector<Problem>& problems) {
  if (!checkpoint.config_text) return {};
  try {
    return parse_facts(*checkpoint.config_text, "");
  } catch (const Error& error) {
    problems.push_back({Severity::fatal, error.code(), config_name(checkpoint), "", error.what()});
    return {};
  }
}

bool has_fatal(const std::vector<Problem>& problems) {
  return std::ranges::find(problems, Severity::fatal, &Problem::severity) != problems.end();
}

// Samples a corner of a square dense expert weight and detects the axis along which it was
// quantized, if any.
mxfp4::Fingerprint measure(const Source& source, const Catalog& catalog, std::size_t index) {
  const StoredTensor& tensor = catalog[index];
  constexpr std::int64_t kMostSampled = 128;
  const std::int64_t side = tensor.shape[2];
  const auto sampled = static_cast<std::size_t>(std::min(side, kMostSampled));
  const auto size = static_cast<std::size_t>(bits(tensor.dtype)) / 8;
  std::vector<std::byte> sample(sampled * sampled * size);
  for (std::size_t row = 0; row < sampled; ++row) {
    source.read(index, row * static_cast<std::size_t>(side) * size,
                std::span(sample).subspan(row * sampled * size, sampled * size));
  }
  return mxfp4::fingerprint({.data = sample.data(),
                             .dtype = tensor.dtype,
                             .order = mxfp4::Order::rows,
                             .stride = sampled,
                             .rows = sampled,
                             .columns = sampled});
}

// Blocks run along the input dimension, so their direction in storage gives the axis order.
std::map<std::size_t, AxisOrder> measure_all(const SourceCheckpoint& checkpoint,
                                             const std::vector<std::size_t>& tensors) {
  std::map<std::size_t, AxisOrder> orders;
  const FileSource source(checkpoint.catalog, open_shards(checkpoint));
  for (const std::size_t tensor : tensors) {
    if (checkpoint.catalog[tensor].byte_count == 0) continue;
    const mxfp4::Fingerprint found = measure(source, checkpoint.catalog, tensor);
    if (found == mxfp4::Fingerprint::along_input) orders[tensor] = AxisOrder::out_in;
    if (found == mxfp4::Fingerprint::along_rows) orders[tensor] = AxisOrder::in_out;
  }
  return orders;
}

}  // namespace

std::vector<File> open_shards(const SourceCheckpoint& checkpoint) {
  std::vector<File> files;
  files.reserve(checkpoint.folder.shards.size());
  for (const ShardFile& shard : checkpoint.folder.shards) {
    files.push_back(File::open_for_reading(shard.path));
  }
  return files;
}

SourceCheckpoint open_source(const std::string& source, std::optional<AxisOrder> orientation) {
  SourceCheckpoint checkpoint;
  checkpoint.folder = open_folder(find_weights(resolve_source(source), checkpoint.problems));
  checkpoint.side_folder = find_side_folder(checkpoint.folder.path);
  checkpoint.catalog = make_catalog(checkpoint.folder);
  std::ranges::copy(checkpoint.folder.problems, std::back_inserter(checkpoint.problems));
  restore_names(checkpoint.catalog, checkpoint.problems);
  stack_tensors(checkpoint.catalog, checkpoint.problems);
  checkpoint.config_text = read_config(checkpoint, checkpoint.problems);
  std::vector<MissingName> missing;
  missing.reserve(checkpoint.folder.missing.size());
  for (MissingEntry& entry : checkpoint.folder.missing) {
    missing.push_back({std::move(entry.tensor), std::move(entry.file), entry.file_exists});
  }
  checkpoint.folder.missing = {};
  // If no tensor was found, the folder's own fatal problems explain why.
  if (!checkpoint.catalog.empty() || !has_fatal(checkpoint.problems)) {
    const ConfigFacts config = read_facts(checkpoint, checkpoint.problems);
    Orientations orientations{.forced = orientation, .measured = {}};
    checkpoint.description = probe(checkpoint.catalog, missing, config, orientations);
    if (!checkpoint.description.square.empty()) {
      orientations.measured = measure_all(checkpoint, checkpoint.description.square);
      checkpoint.description = probe(checkpoint.catalog, missing, config, orientations);
    }
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

}  // namespace mxferry::internal
