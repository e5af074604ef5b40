#include "mxferry/convert.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/file.h"
#include "checkpoint/shard_index.h"
#include "destination/destination.h"
#include "destination/shard_files.h"
#include "destination/snapshot.h"
#include "destination/write_manifest.h"
#include "flow/parts.h"
#include "flow/read_back.h"
#include "flow/run.h"
#include "mxferry/error.h"
#include "verbs/completeness.h"
#include "verbs/prepared_conversion.h"
#include "verbs/weight_passes.h"

namespace mxferry {

using namespace internal;

namespace {

// Copies the tokenizer, template, license and so on, and writes the files made from the source's.
void write_side_files(const ConvertOptions& options, const PreparedConversion& p,
                      Destination& target) {
  for (const std::string& name : p.summary.carried) {
    target.carry(p.source.side_folder, name);
  }
  for (const auto& [name, text] : made_files(options, p)) {
    write_text_file(target.path_of(name), text, options.sync);
  }
  target.note_side_files(side_file_names(options, p));
}

// The target's shards, from this process's point of view.
std::vector<OutputFile> output_files(const PreparedConversion& p, Destination& target) {
  const std::vector<Coverage> coverage =
      shard_coverage(p.plan.recipes, p.own_parts, p.plan.target, p.names.size());
  std::vector<OutputFile> files = p.layout.files;
  for (std::size_t shard = 0; shard < files.size(); ++shard) {
    const std::string& name = p.names[shard];
    files[shard].path = target.path_of(name);
    if (coverage[shard] == Coverage::some) {
      files[shard].shared = target.shared_path(name);
      files[shard].borders = target.borders_of(name);
    }
    files[shard].finished = target.has_written(name) && coverage[shard] != Coverage::none;
  }
  return files;
}

// The recipes of this part that are still to be done.
std::vector<RecipePart> open_parts(const PreparedConversion& p,
                                   const std::vector<OutputFile>& files) {
  std::vector<RecipePart> open;
  for (const RecipePart& part : p.own_parts) {
    const std::vector<std::size_t> shards = shards_of(p.plan.recipes[part.recipe], p.plan.target);
    if (!std::ranges::all_of(shards, [&](std::size_t shard) { return files[shard].finished; })) {
      open.push_back(part);
    }
  }
  return open;
}

std::vector<ConversionCounts> write_weights(const ConvertOptions& options,
                                            const PreparedConversion& p,
                                            std::vector<OutputFile> files, Destination& target,
                                            WeightPasses& passes) {
  std::vector<RecipePart> open = open_parts(p, files);
  const auto note = [&, shared = files](std::size_t shard, const std::string& sha256) {
    shared[shard].shared.empty() ? target.note_shard(p.names[shard], sha256)
                                 : target.note_shared(p.names[shard]);
  };
  FileSink sink(p.plan.target, std::move(files),
                {.sync = options.sync,
                 .digests = options.checksum,
                 .stop = options.stop,
                 .on_finished = note});
  std::vector<ConversionCounts> counts = passes.run(std::move(open), sink);
  if (options.part.rank == 0) {
    for (const std::size_t shard :
         shards_without_data(p.plan.recipes, p.plan.target, p.names.size())) {
      sink.finish_shard(shard);
    }
  }
  return counts;
}

// Converts again and compares with the files' content; with `sync`, reads it from the disk rather
// than the page cache.
void read_back(const ConvertOptions& options, const PreparedConversion& p,
               const Destination& target, WeightPasses& passes) {
  const std::vector<Coverage> coverage =
      shard_coverage(p.plan.recipes, p.own_parts, p.plan.target, p.names.size());
  std::vector<std::optional<WrittenFile>> files(p.names.size());
  for (std::size_t shard = 0; shard < files.size(); ++shard) {
    if (coverage[shard] == Coverage::none) continue;
    const std::string& name = p.names[shard];
    const std::filesystem::path path = target.path_of(name);
    const bool is_shared = !target.finished().contains(name);
    files[shard].emplace(
        WrittenFile{File::open_for_reading(is_shared ? target.shared_path(name) : path)});
    if (is_shared)
      files[shard]->borders.emplace(target.borders_of(name), p.layout.files[shard].size);
    if (options.sync) files[shard]->file.forget_cached();
  }
  ReadBack sink(p.plan.target, std::move(files));
  passes.run(p.own_parts, sink);
}

// Merges by tensor: one that is cut into chunks has a recipe for each.
void add_quantized(const QuantizedTensor& chunk, std::vector<QuantizedTensor>& tensors) {
  const auto tensor = std::ranges::find(tensors, chunk.blocks, &QuantizedTensor::blocks);
  if (tensor == tensors.end()) return tensors.push_back(chunk);
  tensor->block_count += chunk.block_count;
  tensor->kept += chunk.kept;
  tensor->saturated += chunk.saturated;
}

void report_counts(const PreparedConversion& p, const std::vector<ConversionCounts>& counts,
                   ConvertReport& report) {
  const ConversionCounts total = sum(counts);
  report.underflows = total.underflows;
  report.flushed = total.flushed;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const Recipe& recipe = p.plan.recipes[i];
    if (recipe.operation != Operation::encode) continue;
    add_quantized(
        {p.plan.target[recipe.target].name, counts[i].blocks, counts[i].kept, counts[i].saturated},
        report.quantized);
  }
}

void do_part(const ConvertOptions& options, const PreparedConversion& p, Destination& target,
             WeightPasses& passes, ConvertReport& report) {
  std::vector<OutputFile> files = output_files(p, target);
  report.resumed_shards =
      static_cast<std::size_t>(std::ranges::count(files, true, &OutputFile::finished));
  if (options.part.rank == 0) {
    write_side_files(options, p, target);
    for (const OutputFile& file : files) {
      if (options.part.world > 1) target.write_header(file.path.filename(), file.header);
    }
  }
  report_counts(p, write_weights(options, p, std::move(files), target, passes), report);
  if (options.verify) read_back(options, p, target, passes);
  target.note_done();
}

// Rethrows the error; if resuming can help, adds --resume to its advice.
[[noreturn]] void rethrow_resumable(const Error& error, const Destination& target,
                                    std::size_t files) {
  const ErrorCategory cause = category(error.code());
  const bool helps = cause == ErrorCategory::cancelled || cause == ErrorCategory::system ||
                     cause == ErrorCategory::limit;
  if (!helps || !target.is_worth_resuming()) throw error;
  ErrorDetails details = error.details();
  details.advice += std::string(details.advice.empty() ? "" : ". ") +
                    std::to_string(target.finished().size()) + " of " + std::to_string(files) +
                    " files are finished; --resume goes on from there";
  throw Error(error.code(), std::move(details));
}

DestinationRequest request_of(const ConvertOptions& options, const PreparedConversion& p) {
  DestinationRequest request{.folder = options.destination,
                             .record = p.record,
                             .part = options.part,
                             .force = options.force,
                             .resume = options.resume,
                             .sync = options.sync,
                             .bytes = p.summary.disk_needed,
                             .inputs = {},
                             .stop = options.stop};
  request.inputs.push_back(input_of("source", p.source, p.summary.carried));
  if (p.reference) request.inputs.push_back(input_of("reference", *p.reference));
  return request;
}

// Writes this part; if it is the only one, publishes the checkpoint.
void write_part(const ConvertOptions& options, const PreparedConversion& p, Destination& target,
                ConvertReport& report) {
  WeightPasses passes(options, p, options.verify ? 2 : 1);
  try {
    do_part(options, p, target, passes, report);
    report.finished = options.part.world == 1;
    if (report.finished) target.publish();
  } catch (const Error& error) {
    rethrow_resumable(error, target, p.names.size());
  }
  report.verified = options.verify;
  if (passes.loses()) report.loss = passes.measure_loss();
  passes.finish();
}

// Proves that an earlier run did everything, and adds the manifest, which that run may not have
// been asked for.
void accept_finished(const ConvertOptions& options, const PreparedConversion& p,
                     ConvertReport& report) {
  WeightPasses passes(options, p, 1);
  const Snapshot before = snapshot_of(options.destination);
  prove_complete(options, p, passes);
  report.was_complete = true;
  report.verified = true;
  if (options.checksum && options.part.rank == 0) {
    std::vector<std::string> names = side_file_names(options, p);
    names.insert(names.end(), p.names.begin(), p.names.end());
    if (has_index(p.names)) names.emplace_back(kIndexName);
    add_manifest(options.destination, names, before, options.sync, options.stop);
  }
  if (passes.loses()) report.loss = passes.measure_loss();
  passes.finish();
}

}  // namespace

ConvertPlan plan_conversion(const ConvertOptions& options) {
  return prepare(options).summary;
}

ConvertReport convert(const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  PreparedConversion p = prepare(options);
  const DestinationRequest request = request_of(options, p);
  check_destination(request);
  if (options.on_planned) options.on_planned(p.summary);
  ConvertReport report;
  if (const std::unique_ptr<Destination> target = Destination::claim(request)) {
    write_part(options, p, *target, report);
  } else {
    accept_finished(options, p, report);
  }
  report.plan = std::move(p.summary);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace mxferry
