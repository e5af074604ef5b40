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
#include "flow/read_back.h"
#include "flow/run.h"
#include "gpt_oss/config_json.h"
#include "gpt_oss/name_regex.h"
#include "gpt_oss/plan.h"
#include "mxferry/error.h"
#include "mxferry/verify.h"
#include "verbs/compare_checkpoints.h"
#include "verbs/memory_limits.h"
#include "verbs/output.h"
#include "verbs/rank_files.h"
#include "verbs/side_files.h"
#include "verbs/source_checkpoint.h"

namespace mxferry {
namespace {

// Everything that is known before the first byte is converted.
struct Preparation {
  SourceCheckpoint source;
  std::optional<SourceCheckpoint> reference;
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
  check_attn(options.to, options.backend.attn);
  if (options.destination.empty()) refuse("the destination has no name", "a folder", "''");
  if (options.max_shard_size == 0)
    refuse("the shard size must be positive", "at least 1 byte", "0");
  check_dcp_shards(options);
  if (options.threads < 0)
    refuse("the number of threads", "0 or more", std::to_string(options.threads));
  if (options.dense_dtype && !is_dense_float(*options.dense_dtype)) {
    refuse("the dense dtype", "bf16, f16 or f32", std::string(name(*options.dense_dtype)));
  }
  const auto refuse_without_quantizing = [&](const std::string& option) {
    refuse(option + " is for weights that are quantized", "--dtype mxfp4",
           options.dtype ? std::string(name(*options.dtype)) : "none");
  };
  if (options.dtype != Codec::mxfp4) {
    if (!options.reference.empty()) refuse_without_quantizing("--reference");
    if (options.quant_mode != QuantMode::gptoss) refuse_without_quantizing("--quant-mode");
  }
}

// Where the reference keeps the scales of a parameter that is to be quantized.
std::size_t find_reference_scales(const SourceCheckpoint& reference,
                                  const SourceParameter& wanted) {
  const std::vector<SourceParameter>& parameters = reference.description.parameters;
  const auto found = std::ranges::find_if(parameters, [&](const SourceParameter& candidate) {
    return candidate.parameter.kind == wanted.parameter.kind &&
           candidate.parameter.layer == wanted.parameter.layer && candidate.form.packed;
  });
  const std::string what =
      std::string("the ") + description(wanted.parameter.kind) +
      (wanted.parameter.layer ? " of layer " + std::to_string(*wanted.parameter.layer)
                              : std::string());
  if (found == parameters.end()) {
    throw Error(ErrorCode::missing_tensor,
                {.problem = "the reference has no MXFP4 weights for " + what,
                 .file = reference.folder.path,
                 .advice = "Give an MXFP4 checkpoint of the same model, or none"});
  }
  if (found->shape != wanted.shape) {
    throw Error(ErrorCode::wrong_shape,
                {.problem = "the reference is of another model: " + what + " has another shape",
                 .file = reference.folder.path,
                 .expected = to_string(wanted.shape),
                 .found = to_string(found->shape)});
  }
  return found->form.scales;
}

// `reference` may be null, and must outlive the target.
Target make_target(const ConvertOptions& options, const SourceCheckpoint* reference) {
  Target target{.layout = options.to,
                .attn = options.backend.attn,
                .dtype = options.dtype,
                .dense_dtype = options.dense_dtype,
                .excluded = {},
                .reference_scales = {}};
  if (!options.exclude.empty()) {
    target.excluded = [regex = std::make_shared<const NameRegex>(options.exclude)](
                          std::string_view name) { return regex->matches_start(name); };
  }
  if (reference != nullptr) {
    target.reference_scales = [reference](const SourceParameter& parameter) {
      return find_reference_scales(*reference, parameter);
    };
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
  summary.carried = side_files(p.source.side_folder, summary.warnings);
  summary.threads = p.fit.threads;
  summary.peak_memory = p.fit.peak_memory;
  for (const PlannedShard& shard : summary.shards) summary.disk_needed += shard.bytes;
  summary.disk_needed += carried_bytes(p.source.side_folder, summary.carried);
  summary.disk_free = free_bytes(options.destination);
  summary.destination_exists = is_occupied(options.destination);
}

void lay_out_shards(const ConvertOptions& options, Preparation& p) {
  std::vector<StoredTensor*> in_order;
  for (StoredTensor& tensor : p.plan.target) in_order.push_back(&tensor);
  const std::size_t shards = assign_shards(in_order, options.max_shard_size);
  for (std::size_t shard = 0; shard < shards; ++shard) p.names.push_back(shard_name(shard, shards));
  p.layout = lay_out(p.plan.target, p.names);
}

Preparation prepare(const ConvertOptions& options) {
  check_options(options);
  Preparation p{.source = open_source(options.source, options.orientation),
                .reference = {},
                .plan = {},
                .layout = {},
                .names = {},
                .fit = {},
                .summary = {}};
  require_sound(p.source);
  if (!options.reference.empty()) {
    p.reference = open_source(options.reference);
    require_sound(*p.reference);
  }
  p.plan = make_plan(p.source.catalog, p.source.description,
                     make_target(options, p.reference ? &*p.reference : nullptr));
  if (p.plan.target.empty()) {
    throw Error(ErrorCode::invalid_argument, {.problem = "--exclude leaves no tensor to convert",
                                              .found = "'" + options.exclude + "'"});
  }
  p.summary.tensors_out = p.plan.target.size();
  if (options.dcp_shards > 0) {
    p.layout = lay_out_for_ranks(p.plan, options.dcp_shards, p.names);
  } else {
    lay_out_shards(options, p);
  }
  std::uint64_t header_bytes = 0;
  for (const Shard& shard : p.source.folder.shards) header_bytes += shard.header.data_offset;
  for (const OutputFile& file : p.layout.files) header_bytes += file.header.size();
  if (p.reference) {
    for (const Shard& shard : p.reference->folder.shards) header_bytes += shard.header.data_offset;
  }
  const auto scratch_bytes = [&](const TileLimits& limits) {
    return scratch_sizes(p.plan.recipes, limits).total();
  };
  p.fit = fit_memory(scratch_bytes, options.threads, options.max_memory, header_bytes);
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
    copy_side_file(p.source.side_folder / name, folder.add(name), options.sync);
  }
  if (p.source.config_text) {
    const ConfigEdit edit{.to = options.to, .packed = p.plan.packed, .torch_dtype = p.plan.dtype};
    const std::string text =
        edit_config(*p.source.config_text, p.source.side_folder / "config.json", edit);
    write_text_file(folder.add("config.json"), text, options.sync);
  }
  if (options.to == Layout::original) {
    write_text_file(folder.add("dtypes.json"), dtypes_text(p.plan.target), options.sync);
  }
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
        loses_(options.verify && std::ranges::any_of(p.plan.recipes, is_lossy)) {
    const std::uint64_t out = p.summary.bytes_out;
    total_ = out + (options.verify ? out : 0) + (loses_ ? p.summary.bytes_in + out : 0);
  }

  // Whether the loss is to be measured.
  bool loses() const noexcept { return loses_; }

  std::vector<ConversionCounts> run(Sink& sink) {
    const FileSource source(p_.source.catalog, open_shards(p_.source));
    std::optional<FileSource> reference;
    if (p_.reference) reference.emplace(p_.reference->catalog, open_shards(*p_.reference));
    const FlowOptions flow{.threads = p_.fit.threads,
                           .limits = p_.fit.limits,
                           .allow_nonfinite = options_.allow_nonfinite,
                           .quant_mode = options_.quant_mode,
                           .reference = reference ? &*reference : nullptr,
                           .stop = options_.stop,
                           .progress = progress()};
    auto counts = run_flow(p_.plan.recipes, p_.source.catalog, p_.plan.target, p_.names.size(),
                           source, sink, flow);
    before_ += p_.summary.bytes_out;
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

std::vector<ConversionCounts> write_weights(const ConvertOptions& options, const Preparation& p,
                                            OutputFolder& folder, Steps& steps) {
  std::vector<OutputFile> outputs = p.layout.files;
  for (OutputFile& output : outputs) output.path = folder.add(output.path.string());
  FileSink sink(p.plan.target, std::move(outputs), options.sync);
  return steps.run(sink);
}

// Converts again, into a comparison with what the files hold; from the disk, where they are synced.
void read_back(const ConvertOptions& options, const Preparation& p, const OutputFolder& folder,
               Steps& steps) {
  std::vector<File> files;
  for (const OutputFile& output : p.layout.files) {
    files.push_back(File::open_for_reading(folder.path() / output.path));
    if (options.sync) files.back().forget_cached();
  }
  ReadBack sink(p.plan.target, std::move(files));
  steps.run(sink);
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
  Steps steps(options, p);
  {
    OutputFolder folder(options.destination);
    write_side_files(options, p, folder);
    report_counts(p, write_weights(options, p, folder, steps), report);
    if (options.verify) read_back(options, p, folder, steps);
    if (p.names.size() > 1 && options.dcp_shards == 0) {
      const std::string text = index_text(p.plan.target, p.names);
      write_text_file(folder.add(kIndexName), text, options.sync);
    }
    folder.commit();
  }
  report.verified = options.verify;
  if (steps.loses()) report.loss = steps.measure_loss();
  steps.finish();
  report.plan = std::move(p.summary);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace mxferry
