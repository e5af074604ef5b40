#include "mxferry/convert.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/parallel.h"
#include "checkpoint/shard_index.h"
#include "flow/run.h"
#include "gpt_oss/config_json.h"
#include "gpt_oss/name_regex.h"
#include "gpt_oss/plan.h"
#include "mxferry/error.h"
#include "verbs/memory_limits.h"
#include "verbs/output.h"
#include "verbs/side_files.h"
#include "verbs/source_checkpoint.h"

namespace mxferry {
namespace {

// Everything that is known before the first byte is converted.
struct Preparation {
  SourceCheckpoint source;
  Plan plan;
  OutputLayout layout;
  std::vector<std::string> names;  // of the shards
  MemoryFit fit;
  ConvertPlan summary;
};

void check_options(const ConvertOptions& options) {
  const auto refuse = [](std::string problem, std::string expected, std::string found) {
    throw Error(ErrorCode::invalid_argument, {.problem = std::move(problem),
                                              .expected = std::move(expected),
                                              .found = std::move(found)});
  };
  if (options.backend.attn != "flex" && options.backend.attn != "te") {
    refuse("unknown attention backend", "flex or te", options.backend.attn);
  }
  if (options.destination.empty()) refuse("the destination has no name", "a folder", "''");
  if (options.max_shard_size == 0)
    refuse("the shard size must be positive", "at least 1 byte", "0");
  if (options.threads < 0)
    refuse("the number of threads", "0 or more", std::to_string(options.threads));
  if (options.dense_dtype && !is_dense_float(*options.dense_dtype)) {
    refuse("the dense dtype", "bf16, f16 or f32", std::string(name(*options.dense_dtype)));
  }
}

Target make_target(const ConvertOptions& options) {
  Target target{.layout = options.to,
                .attn = options.backend.attn,
                .dtype = options.dtype,
                .dense_dtype = options.dense_dtype,
                .excluded = {}};
  if (!options.exclude.empty()) {
    target.excluded = [regex = std::make_shared<const NameRegex>(options.exclude)](
                          std::string_view name) { return regex->matches_start(name); };
  }
  return target;
}

std::uint64_t carried_bytes(const std::filesystem::path& folder,
                            const std::vector<std::string>& names) {
  std::uint64_t bytes = 0;
  for (const std::string& name : names) bytes += std::filesystem::file_size(folder / name);
  return bytes;
}

void summarize(const ConvertOptions& options, Preparation& p) {
  ConvertPlan& summary = p.summary;
  summary.source = p.source.folder.path;
  summary.from = *p.source.description.layout;
  summary.to = options.to;
  summary.tensors_in = p.source.catalog.size();
  summary.tensors_out = p.plan.target.size();
  for (const Recipe& recipe : p.plan.recipes) {
    summary.bytes_in += source_bytes(recipe);
    summary.bytes_out += target_bytes(recipe);
  }
  summary.shards = p.layout.shards;
  for (const std::size_t tensor : p.plan.passed_through) {
    summary.passed_through.push_back(p.source.catalog[tensor].name);
  }
  summary.excluded = p.plan.excluded;
  summary.warnings = p.source.problems;
  summary.carried = side_files(summary.source, summary.warnings);
  summary.threads = p.fit.threads;
  summary.peak_memory = p.fit.peak_memory;
  for (const PlannedShard& shard : summary.shards) summary.disk_needed += shard.bytes;
  summary.disk_needed += carried_bytes(summary.source, summary.carried);
  summary.disk_free = free_bytes(options.destination);
  summary.destination_exists = is_occupied(options.destination);
}

Preparation prepare(const ConvertOptions& options) {
  check_options(options);
  Preparation p{.source = open_source(options.source),
                .plan = {},
                .layout = {},
                .names = {},
                .fit = {},
                .summary = {}};
  require_sound(p.source);
  p.plan = make_plan(p.source.catalog, p.source.description, make_target(options));
  if (p.plan.target.empty()) {
    throw Error(ErrorCode::invalid_argument, {.problem = "--exclude leaves no tensor to convert",
                                              .found = "'" + options.exclude + "'"});
  }
  std::vector<StoredTensor*> in_order;
  for (StoredTensor& tensor : p.plan.target) in_order.push_back(&tensor);
  const std::size_t shards = assign_shards(in_order, options.max_shard_size);
  for (std::size_t shard = 0; shard < shards; ++shard) p.names.push_back(shard_name(shard, shards));
  p.layout = lay_out(p.plan.target, p.names);
  std::uint64_t header_bytes = 0;
  for (const Shard& shard : p.source.folder.shards) header_bytes += shard.header.data_offset;
  for (const OutputFile& file : p.layout.files) header_bytes += file.header.size();
  p.fit = fit_memory(p.plan.recipes, options.threads, options.max_memory, header_bytes);
  summarize(options, p);
  return p;
}

void check_disk(const ConvertOptions& options, const ConvertPlan& plan) {
  if (plan.disk_needed <= plan.disk_free) return;
  throw Error(
      ErrorCode::not_enough_disk,
      {.problem = plan.destination_exists
                      ? "not enough disk space to hold the old and the new checkpoint together"
                      : "not enough disk space",
       .file = options.destination,
       .expected = std::to_string(plan.disk_needed) + " bytes free",
       .found = std::to_string(plan.disk_free),
       .advice = "Free some space, or choose another disk"});
}

// Tokenizer, template, licence and so on, and the edited config.json.
void write_side_files(const ConvertOptions& options, const Preparation& p, OutputFolder& folder) {
  for (const std::string& name : p.summary.carried) {
    copy_side_file(p.summary.source / name, folder.add(name), options.sync);
  }
  if (p.source.config_text) {
    const ConfigEdit edit{.to = options.to, .packed = p.plan.packed, .torch_dtype = p.plan.dtype};
    const std::string text =
        edit_config(*p.source.config_text, p.summary.source / "config.json", edit);
    write_text_file(folder.add("config.json"), text, options.sync);
  }
  if (options.to == Layout::original) {
    write_text_file(folder.add("dtypes.json"), dtypes_text(p.plan.target), options.sync);
  }
}

LossCounts write_weights(const ConvertOptions& options, const Preparation& p,
                         OutputFolder& folder) {
  std::vector<File> files;
  files.reserve(p.source.folder.shards.size());
  for (const Shard& shard : p.source.folder.shards)
    files.push_back(File::open_for_reading(shard.path));
  const FileSource source(p.source.catalog, std::move(files));
  std::vector<OutputFile> outputs = p.layout.files;
  for (OutputFile& output : outputs) output.path = folder.add(output.path.string());
  FileSink sink(p.plan.target, std::move(outputs), options.sync);
  FlowOptions flow{.threads = p.fit.threads,
                   .limits = p.fit.limits,
                   .allow_nonfinite = options.allow_nonfinite,
                   .stop = options.stop,
                   .progress = {}};
  if (options.progress) {
    flow.progress = [&](std::uint64_t bytes) { options.progress({bytes, p.summary.bytes_out}); };
  }
  return run_flow(p.plan.recipes, p.source.catalog, p.plan.target, p.names.size(), source, sink,
                  flow);
}

}  // namespace

ConvertPlan plan_conversion(const ConvertOptions& options) {
  return prepare(options).summary;
}

ConvertReport convert(const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Preparation p = prepare(options);
  check_destination(options.destination, p.summary.source, options.force);
  check_disk(options, p.summary);
  ConvertReport report;
  {
    OutputFolder folder(options.destination);
    write_side_files(options, p, folder);
    const LossCounts losses = write_weights(options, p, folder);
    report.underflows = losses.underflows;
    report.flushed = losses.flushed;
    if (p.names.size() > 1) {
      const std::string text = index_text(p.plan.target, p.names);
      write_text_file(folder.add(kIndexName), text, options.sync);
    }
    folder.commit();
  }
  if (options.progress) options.progress({p.summary.bytes_out, p.summary.bytes_out});
  report.plan = std::move(p.summary);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace mxferry
