#include "mxferry/sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/parallel.h"
#include "destination/conversion_record.h"
#include "destination/destination.h"
#include "destination/shard_files.h"
#include "flow/run.h"
#include "gpt_oss/config_json.h"
#include "gpt_oss/name_template.h"
#include "gpt_oss/plan.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"
#include "sample/sample_files.h"
#include "sample/sample_source.h"

namespace mxferry {

using namespace internal;

namespace {

struct PresetRow {
  std::string_view name;
  GptOssConfig config;
};

GptOssConfig true_size(std::int64_t experts) noexcept {
  return {1, experts, 2880, 2880, 64, 8, 64, 1024};
}

// Indexed by SamplePreset.
const std::array<PresetRow, 3>& presets() {
  static const std::array<PresetRow, 3> rows = {{
      {"tiny", {3, 4, 64, 96, 4, 2, 16, 256}},
      {"20b-layer", true_size(32)},
      {"120b-layer", true_size(128)},
  }};
  return rows;
}

void check_size(const char* what, std::int64_t size, std::int64_t multiple) {
  constexpr std::int64_t kLargest = std::int64_t{1} << 24;
  if (size > 0 && size <= kLargest && size % multiple == 0) return;
  const std::string expected = multiple == 1
                                   ? "a positive number up to 2^24"
                                   : fmt::format("a positive multiple of {} up to 2^24", multiple);
  throw Error(ErrorCode::invalid_argument, {.problem = fmt::format("the {} of a sample", what),
                                            .expected = expected,
                                            .found = std::to_string(size)});
}

void check_options(const SampleOptions& options) {
  const GptOssConfig& config = options.config;
  check_size("number of layers", config.num_hidden_layers, 1);
  check_size("number of experts", config.num_local_experts, 1);
  check_size("hidden size", config.hidden_size, kBlockSize);
  check_size("intermediate size", config.intermediate_size, kBlockSize);
  check_size("number of heads", config.num_attention_heads, 1);
  check_size("number of key/value heads", config.num_key_value_heads, 1);
  check_size("head size", config.head_dim, 1);
  check_size("vocabulary", config.vocab_size, 1);
  if (options.dtype && options.dtype != Codec::mxfp4 && options.dtype != Codec::bf16) {
    throw Error(ErrorCode::invalid_argument, {.problem = "the dtype of a sample",
                                              .expected = "mxfp4 or bf16",
                                              .found = std::string(name(*options.dtype))});
  }
}

// The tensors in the order of OpenAI's names, in which the published shards were cut: layers 0, 1,
// 10, 11, ..., 2, 20, then the top level.
std::vector<StoredTensor*> in_published_order(Catalog& catalog, const Target& target) {
  std::vector<std::pair<std::string, StoredTensor*>> named;
  for (StoredTensor& tensor : catalog) {
    const auto member = parse_member(tensor.name, tensor.dtype);
    const std::string& name = member ? member->name_template : tensor.name;
    const NameMatch match = *match_name(target.layout, target.attn, name);
    named.emplace_back(
        *tensor_name(Layout::original, "flex", match.parameter(match.rows[0]), match.piece),
        &tensor);
  }
  std::ranges::sort(named);
  std::vector<StoredTensor*> order;
  order.reserve(named.size());
  for (const auto& [name, tensor] : named) order.push_back(tensor);
  return order;
}

// Forces at least two shards, so that tests on a sample exercise the index.
std::uint64_t shard_limit(const Catalog& catalog) {
  constexpr std::uint64_t kPublished = 4'800'000'000;
  std::uint64_t total = 0;
  std::uint64_t largest = 0;
  for (const StoredTensor& tensor : catalog) {
    total += tensor.byte_count;
    largest = std::max(largest, tensor.byte_count);
  }
  return std::min(kPublished, std::max(total - largest, total / 2));
}

std::vector<std::string> assign_files(Catalog& catalog, const Target& target) {
  if (layout_table(target.layout).samples_one_file) {
    assign_shards(in_published_order(catalog, target), UINT64_MAX);
    return {shard_name(0, 1)};
  }
  const std::size_t count =
      assign_shards(in_published_order(catalog, target), shard_limit(catalog));
  // OpenAI's upload numbers shards from 0, and its "of" is one less than the number of files.
  const bool published = target.layout == Layout::hf && target.dtype == Codec::mxfp4;
  std::vector<std::string> names;
  names.reserve(count);
  for (std::size_t shard = 0; shard < count; ++shard) {
    names.push_back(published ? fmt::format("model-{:05}-of-{:05}.safetensors", shard, count - 1)
                              : shard_name(shard, count));
  }
  return names;
}

void write_small_files(const SampleOptions& options, const Plan& plan, Destination& folder) {
  std::vector<std::string> names;
  const auto write = [&](const std::string& name, const std::string& text) {
    write_text_file(folder.path_of(name), text, true);
    names.push_back(name);
  };
  const std::string original = sample_original_config(options.config);
  const ConfigEdit edit{.to = options.to, .packed = plan.packed, .torch_dtype = std::nullopt};
  write("config.json", edit_config(original, "config.json", edit).text);
  if (layout_table(options.to).has_dtypes_json) write("dtypes.json", dtypes_text(plan.target));
  for (const auto& [name, text] : sample_side_files(options.config)) write(name, text);
  folder.note_side_files(names);
}

}  // namespace

std::optional<SamplePreset> parse_sample_preset(std::string_view name) noexcept {
  for (std::size_t i = 0; i < presets().size(); ++i) {
    if (presets()[i].name == name) return static_cast<SamplePreset>(i);
  }
  return std::nullopt;
}

GptOssConfig sample_config(SamplePreset preset) noexcept {
  return presets()[static_cast<std::size_t>(preset)].config;
}

SampleReport write_sample(const SampleOptions& options) {
  check_options(options);
  const SampleSource source(options.config, options.seed, options.wild);
  const Target target{
      .layout = options.to,
      .attn = options.backend.attn,
      .dtype = options.dtype.value_or(can_pack(options.to) ? Codec::mxfp4 : Codec::bf16),
      .dense_dtype = std::nullopt,
      .excluded = {}};
  Plan plan = make_plan(source.catalog(), probe(source.catalog(), {}, options.config), target);
  const std::vector<std::string> names = assign_files(plan.target, target);
  OutputLayout layout = lay_out(plan.target, names);
  DestinationRequest request{.folder = options.destination,
                             .record = make_record(options, layout.files),
                             .stop = options.stop};
  for (const OutputFile& file : layout.files) request.bytes += file.size;
  check_destination(request);

  SampleReport report{.dtype = *target.dtype, .tensors = plan.target.size(), .files = names.size()};
  for (const StoredTensor& tensor : plan.target) report.bytes += tensor.byte_count;
  const std::unique_ptr<Destination> folder = Destination::claim(request);
  write_small_files(options, plan, *folder);
  for (OutputFile& file : layout.files) file.path = folder->path_of(file.path.string());
  FileSink sink(plan.target, std::move(layout.files),
                {.on_finished = [&](std::size_t shard, const std::string& sha256) {
                  folder->note_shard(names[shard], sha256);
                }});
  FlowOptions flow{.threads = available_threads(),
                   .limits = {},
                   .allow_nonfinite = false,
                   .stop = options.stop,
                   .progress = {}};
  if (options.progress) {
    flow.progress = [&](std::uint64_t bytes) { options.progress({bytes, report.bytes}); };
  }
  run_flow(plan.recipes, source.catalog(), plan.target, names.size(), source, sink, flow);
  folder->publish();
  return report;
}

}  // namespace mxferry
