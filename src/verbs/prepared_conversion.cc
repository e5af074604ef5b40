#include "verbs/prepared_conversion.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/name_regex.h"
#include "base/parallel.h"
#include "base/read_pieces.h"
#include "destination/conversion_record.h"
#include "destination/dcp_files.h"
#include "destination/side_files.h"
#include "destination/state_folder.h"
#include "flow/parts.h"
#include "flow/run.h"
#include "flow/shared_file.h"
#include "gpt_oss/config_json.h"
#include "mxferry/error.h"
#include "source/reference_scales.h"
#include "verbs/reference_checks.h"

namespace mxferry::internal {
namespace {

void check_options(const ConvertOptions& options) {
  const auto refuse = [](std::string problem, std::string expected, std::string found) {
    throw Error(ErrorCode::invalid_argument, {.problem = std::move(problem),
                                              .expected = std::move(expected),
                                              .found = std::move(found)});
  };
  check_attn(options.to, options.backend.attn);
  check_dcp_shards(options);
  if (options.destination.empty()) refuse("the destination has no name", "a folder", "''");
  if (options.max_shard_size == 0)
    refuse("the shard size must be positive", "at least 1 byte", "0");
  if (options.part.world < 1 || options.part.rank < 0 || options.part.rank >= options.part.world) {
    refuse("there is no such part", "rank 0 to world - 1",
           std::to_string(options.part.rank) + " of " + std::to_string(options.part.world));
  }
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
      return find_reference_scales(*reference, parameter, /*may_have_more_experts=*/true);
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

// Of a source that has one.
EditedConfig edited_config(const ConvertOptions& options, const PreparedConversion& p) {
  return edit_config(*p.source.config_text, p.source.side_folder / "config.json",
                     {.to = options.to,
                      .packed = p.plan.packed,
                      .torch_dtype = p.plan.dtype,
                      .has_head = p.plan.has_head,
                      .adds_head = p.plan.adds_head,
                      .sizes = p.source.description.config});
}

void refuse_warnings(const std::vector<Problem>& warnings) {
  const auto warning = std::ranges::find(warnings, Severity::warning, &Problem::severity);
  if (warning == warnings.end()) return;
  throw Error(warning->code, {.problem = warning->text,
                              .file = warning->file,
                              .tensor = warning->tensor,
                              .advice = "Without --strict this is a warning"});
}

// Scales of a cache of keys and values are not of the model's weights.
void refuse_unknown(const std::vector<std::string>& names) {
  const auto unknown = std::ranges::find_if(names, [](const std::string& name) {
    return !name.ends_with(".k_scale") && !name.ends_with(".v_scale");
  });
  if (unknown == names.end()) return;
  throw Error(ErrorCode::missing_tensor,
              {.problem = "no layout knows this name; the tensor would be copied untouched",
               .tensor = *unknown,
               .advice = "Without --strict this is a note"});
}

void summarize(const ConvertOptions& options, PreparedConversion& p) {
  ConvertPlan& summary = p.summary;
  summary.source = p.source.folder.path;
  summary.from = *p.source.description.layout;
  summary.to = options.to;
  for (const StoredTensor& tensor : p.source.catalog) {
    summary.tensors_in += std::max<std::size_t>(1, tensor.stacked);
  }
  for (const Recipe& recipe : p.plan.recipes) {
    summary.bytes_in += source_bytes(recipe);
    summary.bytes_out += target_bytes(recipe);
  }
  summary.part = options.part;
  for (const RecipePart& part : p.own_parts) {
    summary.part_bytes_in += source_bytes(p.plan.recipes[part.recipe], part);
    summary.part_bytes_out += target_bytes(p.plan.recipes[part.recipe], part);
  }
  summary.shards = p.layout.shards;
  for (const std::size_t tensor : p.plan.passed_through) {
    summary.passed_through.push_back(p.source.catalog[tensor].name);
  }
  summary.excluded = p.plan.excluded;
  summary.warnings = p.source.problems;
  summary.carried = side_files(p.source.side_folder, summary.warnings);
  if (p.source.config_text) {
    std::ranges::move(edited_config(options, p).problems, std::back_inserter(summary.warnings));
  }
  std::ranges::stable_sort(summary.warnings, std::ranges::greater(), &Problem::severity);
  if (options.strict) {
    refuse_warnings(summary.warnings);
    refuse_unknown(summary.passed_through);
  }
  summary.threads = p.fit.threads;
  summary.peak_memory = p.fit.peak_memory;
  for (const PlannedShard& shard : summary.shards) summary.disk_needed += shard.bytes;
  summary.disk_needed += carried_bytes(p.source.side_folder, summary.carried);
  summary.disk_free = free_bytes(options.destination);
  summary.destination_exists = is_occupied(options.destination);
  summary.digest = record_digest(p.record);
}

void lay_out_shards(const ConvertOptions& options, PreparedConversion& p) {
  std::vector<StoredTensor*> in_order;
  for (StoredTensor& tensor : p.plan.target) in_order.push_back(&tensor);
  const std::size_t shards = assign_shards(in_order, options.max_shard_size);
  for (std::size_t shard = 0; shard < shards; ++shard) p.names.push_back(shard_name(shard, shards));
  p.layout = lay_out(p.plan.target, p.names);
}

}  // namespace

PreparedConversion prepare(const ConvertOptions& options) {
  check_options(options);
  PreparedConversion p{.source = open_source(options.source, options.orientation),
                       .reference = {},
                       .reference_experts = {},
                       .plan = {},
                       .layout = {},
                       .names = {},
                       .own_parts = {},
                       .fit = {},
                       .record = {},
                       .summary = {}};
  require_sound(p.source);
  if (!options.reference.empty()) {
    p.reference = open_source(options.reference);
    require_sound(*p.reference);
    check_against_reference(p.source, *p.reference, p.source.problems);
    p.reference_experts = find_reference_experts(p.source, *p.reference, p.source.problems);
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
  p.own_parts = recipes_of_part(p.plan.recipes, options.part.rank, options.part.world);
  std::uint64_t fixed_bytes = 0;
  for (const ShardFile& shard : p.source.folder.shards) fixed_bytes += shard.header.data_offset;
  for (const OutputFile& file : p.layout.files) fixed_bytes += file.header.size();
  if (p.reference) {
    for (const ShardFile& shard : p.reference->folder.shards)
      fixed_bytes += shard.header.data_offset;
  }
  for (const Coverage coverage :
       shard_coverage(p.plan.recipes, p.own_parts, p.plan.target, p.names.size())) {
    if (coverage == Coverage::some) fixed_bytes += kMostKeptBytes;
  }
  const auto scratch_bytes = [&](const TileLimits& limits) {
    return scratch_sizes(p.plan.recipes, p.own_parts, limits).total() +
           (options.checksum ? kPieceBytes : 0);
  };
  const bool shares_machine = options.threads == 0 && options.part.local_world > 1;
  const int threads =
      shares_machine ? available_threads(options.part.local_world) : options.threads;
  p.fit = fit_memory(scratch_bytes, threads, options.max_memory, fixed_bytes);
  p.record = make_record(options, p.source, p.reference ? &*p.reference : nullptr, p.layout.files);
  summarize(options, p);
  return p;
}

std::map<std::string, std::string> made_files(const ConvertOptions& options,
                                              const PreparedConversion& p) {
  std::map<std::string, std::string> texts;
  if (p.source.config_text) texts["config.json"] = edited_config(options, p).text;
  if (layout_table(options.to).has_dtypes_json) texts["dtypes.json"] = dtypes_text(p.plan.target);
  return texts;
}

std::vector<std::string> side_file_names(const ConvertOptions& options,
                                         const PreparedConversion& p) {
  std::vector<std::string> names = p.summary.carried;
  for (const auto& [name, text] : made_files(options, p)) names.push_back(name);
  return names;
}

}  // namespace mxferry::internal
