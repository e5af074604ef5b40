#include "mxferry/convert.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "checkpoint/shard_index.h"
#include "flow/read_back.h"
#include "flow/run.h"
#include "flow/share.h"
#include "gpt_oss/config_json.h"
#include "mxferry/error.h"
#include "mxferry/verify.h"
#include "verbs/claim.h"
#include "verbs/compare_checkpoints.h"
#include "verbs/conversion_record.h"
#include "verbs/finish.h"
#include "verbs/output.h"
#include "verbs/preparation.h"
#include "verbs/side_files.h"
#include "verbs/write_manifest.h"

namespace mxferry {
namespace {

// `there`: bytes of the disk that unfinished files of this conversion take already.
void check_disk(const ConvertOptions& options, const ConvertPlan& plan, std::uint64_t there) {
  if (plan.disk_needed <= plan.disk_free + there) return;
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

// What the target holds beside the weights and their index.
std::vector<std::string> side_files_of(const ConvertOptions& options, const Preparation& p) {
  std::vector<std::string> names = p.summary.carried;
  if (p.source.config_text) names.emplace_back("config.json");
  if (options.to == Layout::original) names.emplace_back("dtypes.json");
  return names;
}

// Tokenizer, template, licence and so on, and the edited config.json.
void write_side_files(const ConvertOptions& options, const Preparation& p, Claim& claim) {
  for (const std::string& name : p.summary.carried) {
    copy_side_file(p.source.side_folder / name, claim.add(name), options.sync);
  }
  if (p.source.config_text) {
    const ConfigEdit edit{.to = options.to, .packed = p.plan.packed, .torch_dtype = p.plan.dtype};
    const std::string text =
        edit_config(*p.source.config_text, p.source.side_folder / "config.json", edit);
    write_text_file(claim.add("config.json"), text, options.sync);
  }
  if (options.to == Layout::original) {
    write_text_file(claim.add("dtypes.json"), dtypes_text(p.plan.target), options.sync);
  }
  if (options.checksum) claim.note_side_files(side_files_of(options, p));
}

// Whether the target may not hold what the recipe reads.
bool is_lossy(const Recipe& recipe) {
  switch (recipe.operation) {
    case Operation::copy:
      return false;
    case Operation::encode:
      return true;
    case Operation::decode:
      return recipe.to == DType::F16;
    case Operation::cast:
    case Operation::transpose:
      return recipe.to != recipe.from && recipe.to != DType::F32;
  }
  return false;
}

// The steps of a conversion that move weights, one after the other, as one progress.
class Steps {
 public:
  Steps(const ConvertOptions& options, const Preparation& p)
      : options_(options),
        p_(p),
        loses_(options.verify && options.part.world == 1 &&
               std::ranges::any_of(p.plan.recipes, is_lossy)) {
    const std::uint64_t out = p.summary.part_bytes_out;
    total_ = out + (options.verify ? out : 0) + (loses_ ? p.summary.bytes_in + out : 0);
  }

  // Whether the loss is to be measured.
  bool loses() const noexcept { return loses_; }

  std::vector<ConversionCounts> run(std::vector<RecipePart> parts, Sink& sink) {
    const FileSource source(p_.source.catalog, open_shards(p_.source));
    std::optional<FileSource> reference;
    if (p_.reference) reference.emplace(p_.reference->catalog, open_shards(*p_.reference));
    std::uint64_t bytes = 0;
    for (const RecipePart& part : parts) bytes += target_bytes(p_.plan.recipes[part.recipe], part);
    // What was done by an earlier run.
    before_ += p_.summary.part_bytes_out - bytes;
    const FlowOptions flow{.threads = p_.fit.threads,
                           .limits = p_.fit.limits,
                           .allow_nonfinite = options_.allow_nonfinite,
                           .quant_mode = options_.quant_mode,
                           .reference = reference ? &*reference : nullptr,
                           .parts = std::move(parts),
                           .stop = options_.stop,
                           .progress = progress()};
    auto counts = run_flow(p_.plan.recipes, p_.source.catalog, p_.plan.target, p_.names.size(),
                           source, sink, flow);
    before_ += bytes;
    return counts;
  }

  Difference measure_loss() {
    const auto report = progress();
    VerifyOptions verify_options{.a = {},
                                 .b = {},
                                 .threads = options_.threads,
                                 .max_memory = options_.max_memory,
                                 .orientation_a = {},
                                 .orientation_b = {},
                                 .progress = {},
                                 .stop = options_.stop};
    if (report) {
      verify_options.progress = [&](const ConvertProgress& done) { report(done.bytes_done); };
    }
    // A part that --exclude left without whole layers is compared all the same.
    const SourceCheckpoint target = open_source(options_.destination.string());
    if (!target.description.layout) return {};
    return compare_checkpoints(p_.source, target, verify_options).total;
  }

  void finish() {
    if (options_.progress) options_.progress({total_, total_});
  }

 private:
  std::function<void(std::uint64_t)> progress() const {
    if (!options_.progress) return {};
    return [this](std::uint64_t bytes) { options_.progress({before_ + bytes, total_}); };
  }

  const ConvertOptions& options_;
  const Preparation& p_;
  bool loses_;
  std::uint64_t total_ = 0;
  std::uint64_t before_ = 0;  // bytes of the steps that are done
};

// The shards of the target, as this process sees them.
std::vector<OutputFile> output_files(const Preparation& p, Claim& claim) {
  const std::vector<ShardShare> shares =
      shard_shares(p.plan.recipes, p.share, p.plan.target, p.names.size());
  std::vector<OutputFile> files = p.layout.files;
  for (std::size_t shard = 0; shard < files.size(); ++shard) {
    const std::string& name = p.names[shard];
    files[shard].path = claim.add(name);
    files[shard].shared = shares[shard] == ShardShare::some;
    const bool was_written =
        claim.finished().contains(name) || claim.journal().shared.contains(name);
    files[shard].finished = was_written && shares[shard] != ShardShare::none;
  }
  return files;
}

// What is left to do of this part.
std::vector<RecipePart> open_parts(const Preparation& p, const std::vector<OutputFile>& files) {
  std::vector<RecipePart> open;
  for (const RecipePart& part : p.share) {
    const std::vector<std::size_t> shards = shards_of(p.plan.recipes[part.recipe], p.plan.target);
    if (!std::ranges::all_of(shards, [&](std::size_t shard) { return files[shard].finished; })) {
      open.push_back(part);
    }
  }
  return open;
}

std::vector<ConversionCounts> write_weights(const ConvertOptions& options, const Preparation& p,
                                            std::vector<OutputFile> files, Claim& claim,
                                            Steps& steps) {
  std::vector<RecipePart> open = open_parts(p, files);
  const auto note = [&, shared = files](std::size_t shard, const std::string& sha256) {
    shared[shard].shared ? claim.note_shared(p.names[shard])
                         : claim.note_shard(p.names[shard], sha256);
  };
  FileSink sink(p.plan.target, std::move(files),
                {.sync = options.sync,
                 .digests = options.checksum,
                 .stop = options.stop,
                 .on_finished = note});
  std::vector<ConversionCounts> counts = steps.run(std::move(open), sink);
  if (options.part.rank == 0) {
    for (const std::size_t shard :
         shards_without_data(p.plan.recipes, p.plan.target, p.names.size())) {
      sink.finish_shard(shard);
    }
  }
  return counts;
}

// Converts again, into a comparison with what the files hold; from the disk, where they are synced.
void read_back(const ConvertOptions& options, const Preparation& p, const Claim& claim,
               Steps& steps) {
  const std::vector<ShardShare> shares =
      shard_shares(p.plan.recipes, p.share, p.plan.target, p.names.size());
  std::vector<std::optional<File>> files(p.names.size());
  for (std::size_t shard = 0; shard < files.size(); ++shard) {
    if (shares[shard] == ShardShare::none) continue;
    const std::filesystem::path path = claim.folder() / p.names[shard];
    files[shard] =
        File::open_for_reading(shares[shard] == ShardShare::some ? partial_name(path) : path);
    if (options.sync) files[shard]->forget_cached();
  }
  ReadBack sink(p.plan.target, std::move(files));
  steps.run(p.share, sink);
}

// A tensor that is cut has a recipe for each of its chunks.
void add_quantized(const QuantizedTensor& chunk, std::vector<QuantizedTensor>& tensors) {
  const auto tensor = std::ranges::find(tensors, chunk.blocks, &QuantizedTensor::blocks);
  if (tensor == tensors.end()) return tensors.push_back(chunk);
  tensor->block_count += chunk.block_count;
  tensor->kept += chunk.kept;
  tensor->saturated += chunk.saturated;
}

void report_counts(const Preparation& p, const std::vector<ConversionCounts>& counts,
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

// Bytes of the disk that files of this conversion take which are not finished.
std::uint64_t unfinished_bytes(const Preparation& p, const std::filesystem::path& folder) {
  std::uint64_t bytes = 0;
  for (const std::string& name : p.names) {
    const std::filesystem::path path = partial_name(folder / name);
    if (is_file(path)) {
      bytes += File::open_for_reading(path).allocated();
    }
  }
  return bytes;
}

// Whether the destination is what this conversion makes, all of it.
bool is_complete(const Preparation& p, const std::filesystem::path& folder) {
  for (const OutputFile& output : p.layout.files) {
    const std::filesystem::path path = folder / output.path;
    if (!is_file(path)) return false;
    const File file = File::open_for_reading(path);
    if (file.size() != output.size) return false;
    std::string header(output.header.size(), '\0');
    file.read(0, std::as_writable_bytes(std::span(header)));
    if (header != output.header) return false;
  }
  if (!has_index(p.names)) return true;
  const std::string index = index_text(p.plan.target, p.names);
  const std::filesystem::path path = folder / kIndexName;
  return is_file(path) && read_text_file(path, kLargestIndex) == index;
}

// The manifest that an earlier run was not asked for.
void add_manifest(const ConvertOptions& options, const Preparation& p) {
  Manifest digests;
  const auto add = [&](const std::string& name) {
    if (is_file(options.destination / name)) digests[name] = "";
  };
  std::ranges::for_each(p.names, add);
  std::ranges::for_each(side_files_of(options, p), add);
  add(kIndexName);
  write_manifest(options.destination, std::move(digests), options.sync, options.stop);
}

void do_part(const ConvertOptions& options, const Preparation& p, Claim& claim, Steps& steps,
             ConvertReport& report) {
  std::vector<OutputFile> files = output_files(p, claim);
  report.resumed_shards =
      static_cast<std::size_t>(std::ranges::count(files, true, &OutputFile::finished));
  std::uint64_t there = unfinished_bytes(p, claim.folder());
  for (const OutputFile& file : p.layout.files) {
    if (claim.finished().contains(file.path.string())) there += file.size;
  }
  check_disk(options, p.summary, there);
  if (options.part.rank == 0) write_side_files(options, p, claim);
  report_counts(p, write_weights(options, p, std::move(files), claim, steps), report);
  if (options.verify) read_back(options, p, claim, steps);
  claim.note_done();
}

// What can be done about an error that leaves a conversion behind.
[[noreturn]] void rethrow_resumable(const Error& error, const Claim& claim, std::size_t files) {
  const ErrorCategory cause = category(error.code());
  const bool helps = cause == ErrorCategory::cancelled || cause == ErrorCategory::system ||
                     cause == ErrorCategory::limit;
  if (!helps || !claim.is_worth_resuming()) throw error;
  ErrorDetails details = error.details();
  details.advice += std::string(details.advice.empty() ? "" : ". ") +
                    std::to_string(claim.finished().size()) + " of " + std::to_string(files) +
                    " files are finished; --resume goes on from there";
  throw Error(error.code(), std::move(details));
}

}  // namespace

ConvertPlan plan_conversion(const ConvertOptions& options) {
  return prepare(options).summary;
}

ConvertReport convert(const ConvertOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Preparation p = prepare(options);
  check_destination(options.destination, p.summary.source);
  ConvertReport report;
  Steps steps(options, p);
  report.was_complete = options.resume && is_complete(p, options.destination) &&
                        find_journals(options.destination).empty();
  if (!report.was_complete) {
    Claim claim(
        options.destination,
        make_record(options, p.source, p.reference ? &*p.reference : nullptr, p.layout.files),
        {.part = options.part,
         .force = options.force,
         .resume = options.resume,
         .sync = options.sync});
    try {
      do_part(options, p, claim, steps, report);
      report.finished = options.part.world == 1;
      if (report.finished) {
        finish_parts(options.destination, find_journals(options.destination), options.stop);
      }
    } catch (const Error& error) {
      rethrow_resumable(error, claim, p.names.size());
    }
    report.verified = options.verify;
    if (steps.loses()) report.loss = steps.measure_loss();
  } else if (options.checksum && options.part.rank == 0 &&
             !is_file(options.destination / kManifestName)) {
    add_manifest(options, p);
  }
  steps.finish();
  report.plan = std::move(p.summary);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace mxferry
