#include "mxferry/checkpoint_writer.h"

#include <fmt/format.h>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/checked.h"
#include "base/file.h"
#include "base/parallel.h"
#include "checkpoint/shard_index.h"
#include "destination/conversion_record.h"
#include "destination/destination.h"
#include "destination/shard_files.h"
#include "destination/side_files.h"
#include "destination/state_folder.h"
#include "flow/region_write.h"
#include "flow/shared_shards.h"
#include "flow/sizes.h"
#include "gpt_oss/config_json.h"
#include "gpt_oss/plan.h"
#include "mxferry/error.h"
#include "mxferry/names.h"
#include "source/checked_box.h"
#include "source/reference_scales.h"
#include "source/source_checkpoint.h"

namespace mxferry {

using namespace internal;

namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigName = "config.json";

void check_options(const WriterOptions& options) {
  const auto refuse = [](std::string problem, std::string expected, std::string found) {
    throw Error(ErrorCode::invalid_argument, {.problem = std::move(problem),
                                              .expected = std::move(expected),
                                              .found = std::move(found)});
  };
  if (options.max_shard_size == 0) {
    refuse("the shard size must be positive", "at least 1 byte", "0");
  }
  if (options.dense_dtype && !is_dense_float(*options.dense_dtype)) {
    refuse("the dense dtype", "bf16, f16 or f32", std::string(name(*options.dense_dtype)));
  }
  if (options.dtype != Codec::mxfp4 && options.quant_mode != QuantMode::gptoss) {
    refuse("a mode of quantizing is for weights that are quantized", "dtype mxfp4",
           options.dtype ? std::string(name(*options.dtype)) : "none");
  }
}

Catalog catalog_of(const std::vector<ReadableTensor>& tensors) {
  std::vector<std::string> names;
  names.reserve(tensors.size());
  for (const ReadableTensor& tensor : tensors) names.push_back(tensor.name);
  names = restored_names(names);
  Catalog catalog;
  catalog.reserve(tensors.size());
  for (const ReadableTensor& tensor : tensors) {
    const auto bytes = checked_multiply(static_cast<std::uint64_t>(element_count(tensor.shape)),
                                        static_cast<std::uint64_t>(element_size(tensor.dtype)));
    if (!bytes || bits(tensor.dtype) % 8 != 0) {
      throw Error(bytes ? ErrorCode::unsupported : ErrorCode::size_overflow,
                  {.problem = "a tensor of this dtype and shape is not written",
                   .tensor = tensor.name,
                   .found = std::string(name(tensor.dtype)) + " " + to_string(tensor.shape)});
    }
    catalog.push_back({std::move(names[catalog.size()]), tensor.dtype, tensor.shape, 0, 0, *bytes});
  }
  return catalog;
}

// In PyTorch, expert weights are always stored [experts, in, out].
Description describe(const Catalog& catalog, const std::string& config) {
  Description description = probe(catalog, {}, parse_facts(config, kConfigName),
                                  {.forced = AxisOrder::in_out, .measured = {}});
  // Reading accepts missing tensors with a warning. Writing does not.
  for (const Problem& problem : description.problems) {
    const bool is_missing = problem.code == ErrorCode::missing_tensor;
    if (problem.severity != Severity::fatal && !is_missing) continue;
    throw Error(problem.code, {.problem = problem.text, .tensor = problem.tensor});
  }
  const auto order = layout_row(*description.layout, "flex", ParameterKind::down_weight).order;
  if (order != AxisOrder::in_out) {
    throw Error(ErrorCode::unsupported,
                {.problem = "the tensors have names of the " +
                            std::string(name(*description.layout)) + " layout",
                 .expected = "names of Hugging Face's or NeMo AutoModel's",
                 .found = "'" + catalog[0].name + "'"});
  }
  return description;
}

void check_kinds(const Description& description) {
  for (const LayoutRow& row : layout_rows(Layout::hf, description.attn)) {
    const bool found = std::ranges::any_of(
        description.parameters,
        [&](const SourceParameter& source) { return source.parameter.kind == row.kind; });
    if (found) continue;
    throw Error(ErrorCode::missing_tensor,
                {.problem = std::string("the model has no ") + internal::description(row.kind),
                 .expected = "a tensor that ends in '" + std::string(row.suffix) + "'"});
  }
}

// Only dense expert weights stored [experts, in, out] can be written box by box.
void check_operations(const Catalog& catalog, const Plan& plan) {
  for (const Recipe& recipe : plan.recipes) {
    const StoredTensor& source = catalog[recipe.source];
    if (recipe.operation == Operation::decode) {
      throw Error(ErrorCode::unsupported,
                  {.problem = "packed weights are not decoded while they are written",
                   .tensor = source.name,
                   .advice = "Give dtype mxfp4, or weights that are decoded already"});
    }
    const bool swapped =
        recipe.operation == Operation::transpose ||
        (recipe.operation == Operation::encode && recipe.source_order == AxisOrder::out_in);
    if (swapped) {
      throw Error(ErrorCode::wrong_shape, {.problem = "the weights of the experts are transposed",
                                           .tensor = source.name,
                                           .expected = "[experts, in, out]",
                                           .found = to_string(source.shape)});
    }
  }
}

}  // namespace

struct CheckpointWriter::State {
  explicit State(const WriterOptions& given) : options(given), catalog(catalog_of(given.tensors)) {
    check_options(options);
    read_companions();
    const Description description = describe(catalog, options.config);
    check_kinds(description);
    plan = make_plan(catalog, description, target());
    check_operations(catalog, plan);
    recipes.resize(catalog.size());
    for (const Recipe& recipe : plan.recipes) recipes[recipe.source] = &recipe;
    lay_out_shards();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // Opens the reference, and finds the config and the side files.
  void read_companions() {
    if (!options.reference.empty()) {
      reference = open_source(options.reference);
      require_sound(*reference);
      if (options.config.empty()) options.config = reference->config_text.value_or("");
      scales = std::make_unique<FileSource>(reference->catalog, open_shards(*reference));
    }
    if (!options.side_files.empty()) {
      companions = resolve_source(options.side_files);
    } else if (reference) {
      companions = reference->folder.path;
    }
    std::error_code different;
    if (!companions.empty() && !fs::equivalent(companions, options.destination, different)) {
      std::vector<Problem> ignored;
      carried = side_files(companions, ignored);
    }
    if (options.config.empty() && !companions.empty()) {
      options.config = read_text_file(companions / kConfigName, kLargestConfig);
    }
    if (!options.config.empty()) return;
    throw Error(ErrorCode::invalid_config,
                {.problem = "there is no config.json to write",
                 .advice = "Give the model's config, or a reference that has one"});
  }

  Target target() const {
    Target target{.dtype = options.dtype,
                  .dense_dtype = options.dense_dtype,
                  .excluded = {},
                  .reference_scales = {}};
    if (reference) {
      target.reference_scales = [this](const SourceParameter& parameter) {
        return find_reference_scales(*reference, parameter);
      };
    }
    return target;
  }

  void lay_out_shards() {
    std::vector<StoredTensor*> in_order;
    for (StoredTensor& tensor : plan.target) in_order.push_back(&tensor);
    const std::size_t count = assign_shards(in_order, options.max_shard_size);
    for (std::size_t shard = 0; shard < count; ++shard) names.push_back(shard_name(shard, count));
    files = lay_out(plan.target, names).files;
    record = make_record(options, reference ? &*reference : nullptr, files);
    const fs::path work = work_path(options.destination, record);
    const std::string writer =
        fmt::format("writer-{:08x}{:08x}.", std::random_device()(), std::random_device()());
    for (OutputFile& file : files) {
      file.shared = work / kPiecesFolder / shared_name(Part().world, file.path.string());
      file.borders = work / kPiecesFolder / (writer + file.path.string());
      file.path = work / kFilesFolder / file.path;
    }
    sink = std::make_unique<SharedShards>(plan.target, files);
  }

  const Recipe& recipe_of(std::size_t tensor) const;
  RegionWrite to_write(const ConstRegion& region) const;
  DestinationRequest request() const;
  void create_shards() const;
  std::vector<std::string> write_other_files() const;

  WriterOptions options;
  Catalog catalog;  // of the tensors in memory
  std::optional<SourceCheckpoint> reference;
  std::unique_ptr<FileSource> scales;  // the reference's
  fs::path companions;                 // folder of the side files
  std::vector<std::string> carried;    // side files to copy; none if already in the destination
  Plan plan;
  std::vector<const Recipe*> recipes;  // by index in the catalog
  std::vector<std::string> names;      // of the shards
  nlohmann::json record;
  std::vector<OutputFile> files;
  std::unique_ptr<SharedShards> sink;
  std::unique_ptr<Destination> destination;  // only in the process that called create()
};

const Recipe& CheckpointWriter::State::recipe_of(std::size_t tensor) const {
  if (tensor < recipes.size()) return *recipes[tensor];
  throw Error(ErrorCode::invalid_argument,
              {.problem = "there is no tensor of this number",
               .expected = "less than " + std::to_string(recipes.size()),
               .found = std::to_string(tensor)});
}

RegionWrite CheckpointWriter::State::to_write(const ConstRegion& region) const {
  const Recipe& recipe = recipe_of(region.tensor);
  const ReadableTensor& tensor = options.tensors[region.tensor];
  check_box(tensor, region.begin, region.extent, region.strides);
  if (recipe.operation == Operation::encode && region.extent[1] != tensor.shape[1]) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the part cuts the dimension along which weights are quantized",
                 .tensor = tensor.name,
                 .expected = "all " + std::to_string(tensor.shape[1]) + " of dimension 1",
                 .found = std::to_string(region.extent[1])});
  }
  if (region.data == nullptr && element_count(region.extent) > 0) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the part has no memory", .tensor = tensor.name});
  }
  return {.recipe = &recipe,
          .shape = tensor.shape,
          .begin = region.begin,
          .extent = region.extent,
          .data = region.data,
          .strides = checked_strides(tensor, region.extent, region.strides),
          .dtype = tensor.dtype};
}

DestinationRequest CheckpointWriter::State::request() const {
  DestinationRequest request{.folder = options.destination,
                             .record = record,
                             .force = options.force,
                             .sync = options.sync,
                             .inputs = {}};
  for (const OutputFile& file : files) request.bytes += file.size;
  if (reference) request.inputs.push_back(input_of("reference", *reference));
  if (!carried.empty()) {
    request.inputs.push_back({"folder of side files", {}});
    for (const std::string& name : carried) {
      request.inputs.back().files.push_back(companions / name);
    }
  }
  return request;
}

void CheckpointWriter::State::create_shards() const {
  for (const OutputFile& output : files) {
    const File file = File::create(output.shared);
    file.preallocate(output.size);
    file.write(0, std::as_bytes(std::span(output.header)));
    if (options.sync) file.sync();
  }
}

// Writes the tokenizer, template, license and so on, and the edited config.json. Returns their
// names.
std::vector<std::string> CheckpointWriter::State::write_other_files() const {
  for (const std::string& name : carried) {
    destination->carry(companions, name);
  }
  std::vector<std::string> written = carried;
  written.emplace_back(kConfigName);
  const ConfigEdit edit{.packed = plan.packed, .torch_dtype = plan.dtype};
  write_text_file(destination->path_of(kConfigName),
                  edit_config(options.config, kConfigName, edit).text, options.sync);
  return written;
}

CheckpointWriter::CheckpointWriter(const WriterOptions& options)
    : state_(std::make_unique<State>(options)) {}

CheckpointWriter::CheckpointWriter(CheckpointWriter&&) noexcept = default;
CheckpointWriter& CheckpointWriter::operator=(CheckpointWriter&&) noexcept = default;
CheckpointWriter::~CheckpointWriter() = default;

bool CheckpointWriter::quantizes(std::size_t tensor) const {
  return state_->recipe_of(tensor).operation == Operation::encode;
}

std::string CheckpointWriter::digest() const {
  return record_digest(state_->record);
}

void CheckpointWriter::create() {
  const DestinationRequest request = state_->request();
  check_destination(request);
  state_->destination = Destination::claim(request);
  state_->create_shards();
}

void CheckpointWriter::write(const std::vector<ConstRegion>& regions,
                             const WriteOptions& options) const {
  std::vector<RegionWrite> writes;
  for (const ConstRegion& region : regions) {
    RegionWrite write = state_->to_write(region);
    if (element_count(region.extent) > 0) writes.push_back(std::move(write));
  }
  write_regions(writes, state_->catalog, *state_->sink,
                {.threads = options.threads > 0 ? options.threads : available_threads(),
                 .allow_nonfinite = state_->options.allow_nonfinite,
                 .quant_mode = state_->options.quant_mode,
                 .reference = state_->scales.get(),
                 .stop = options.stop});
}

void CheckpointWriter::sync() const {
  state_->sink->finish(state_->options.sync);
}

void CheckpointWriter::discard() noexcept {
  state_->destination.reset();
}

void CheckpointWriter::commit() {
  State& s = *state_;
  if (!s.destination) {
    throw Error(ErrorCode::invalid_argument, {.problem = "commit() is for the process that has "
                                                         "called create(), and once"});
  }
  s.sink->finish(s.options.sync);
  s.destination->note_side_files(s.write_other_files());
  s.destination->publish();
  s.destination.reset();
}

}  // namespace mxferry
