#include "mxferry/checkpoint_reader.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include "base/parallel.h"
#include "flow/region.h"
#include "flow/source.h"
#include "gpt_oss/plan.h"
#include "mxferry/error.h"
#include "source/checked_box.h"
#include "source/source_checkpoint.h"

namespace mxferry {

using namespace internal;

namespace {

[[noreturn]] void refuse(ErrorCode code, const std::string& tensor, std::string problem,
                         std::string expected, std::string found) {
  throw Error(code, {.problem = std::move(problem),
                     .tensor = tensor,
                     .expected = std::move(expected),
                     .found = std::move(found)});
}

void refuse_encodes(const Catalog& source, const Plan& plan) {
  const auto encode = std::ranges::find(plan.recipes, Operation::encode, &Recipe::operation);
  if (encode == plan.recipes.end()) return;
  throw Error(ErrorCode::unsupported,
              {.problem = "weights are not quantized while they are read",
               .tensor = source[encode->source].name,
               .advice = "Read them dense, or convert the checkpoint first"});
}

void check_memory(const ReadableTensor& tensor, const Region& region) {
  const bool weights = is_dense_float(tensor.dtype) && is_dense_float(region.dtype);
  if ((region.dtype != tensor.dtype && !weights) || bits(tensor.dtype) % 8 != 0) {
    refuse(ErrorCode::unsupported, tensor.name, "the tensor cannot be read as this dtype",
           weights ? "BF16, F16 or F32" : std::string(name(tensor.dtype)),
           std::string(name(region.dtype)));
  }
  const auto size = static_cast<std::uintptr_t>(bits(region.dtype) / 8);
  if (region.data != nullptr && reinterpret_cast<std::uintptr_t>(region.data) % size == 0) return;
  refuse(ErrorCode::invalid_argument, tensor.name, "the memory cannot hold elements of its dtype",
         "an address that is a multiple of " + std::to_string(size),
         region.data == nullptr ? "none" : "another");
}

// Turns the box of one expert's tensor into a box of the stack that the recipe cuts it from.
void stack(RegionRead& read) {
  const Recipe& recipe = *read.recipe;
  const bool has_experts =
      recipe.operation == Operation::decode || recipe.operation == Operation::transpose;
  if (!has_experts || read.shape.size() != 2) return;
  read.shape.insert(read.shape.begin(), recipe.first_expert + 1);
  read.begin.insert(read.begin.begin(), recipe.first_expert);
  read.extent.insert(read.extent.begin(), 1);
  read.strides.insert(read.strides.begin(), 0);
}

// Leaves the rows of the box that the recipe fills, where the tensor is fused. False where there
// are none.
bool narrow_to_recipe(RegionRead& read, const StoredTensor& tensor) {
  const std::uint64_t bytes = target_bytes(*read.recipe);
  if (bytes == tensor.byte_count) return true;
  const auto row_bytes = tensor.byte_count / static_cast<std::uint64_t>(tensor.shape[0]);
  const auto first = static_cast<std::int64_t>(read.recipe->target_offset / row_bytes);
  const auto rows = static_cast<std::int64_t>(bytes / row_bytes);
  const std::int64_t begin = std::max(read.begin[0], first);
  const std::int64_t end = std::min(read.begin[0] + read.extent[0], first + rows);
  if (begin >= end) return false;
  read.data += (begin - read.begin[0]) * read.strides[0] * (bits(read.to) / 8);
  read.shape[0] = rows;
  read.begin[0] = begin - first;
  read.extent[0] = end - begin;
  return true;
}

void refuse_split_rows(const Plan& plan) {
  for (const StoredTensor& tensor : plan.target) {
    if (!tensor.odd_rows) continue;
    throw Error(ErrorCode::unsupported,
                {.problem = "a layout with gate and up apart cannot be read tensor by tensor",
                 .tensor = tensor.name,
                 .advice = "Read the checkpoint in the hf layout, or convert it"});
  }
}

}  // namespace

struct CheckpointReader::State {
  State(SourceCheckpoint opened, const Target& target)
      : checkpoint(std::move(opened)),
        plan(make_plan(checkpoint.catalog, checkpoint.description, target)),
        source(checkpoint.catalog, open_shards(checkpoint)) {
    refuse_encodes(checkpoint.catalog, plan);
    refuse_split_rows(plan);
    for (std::size_t i = 0; i < plan.target.size(); ++i) {
      const StoredTensor& tensor = plan.target[i];
      tensors.push_back({tensor.name, tensor.dtype, tensor.shape, stored_dtype(i)});
    }
  }

  // The recipes that fill a tensor; more than one if it is fused.
  std::span<const Recipe> recipes_of(std::size_t tensor) const {
    return {std::ranges::lower_bound(plan.recipes, tensor, {}, &Recipe::target),
            std::ranges::upper_bound(plan.recipes, tensor, {}, &Recipe::target)};
  }
  std::optional<DType> stored_dtype(std::size_t tensor) const {
    const Recipe& recipe = recipes_of(tensor).front();
    if (recipe.operation == Operation::decode) return std::nullopt;
    return checkpoint.catalog[recipe.source].dtype;
  }
  void add_reads(const Region& region, std::vector<RegionRead>& reads) const;

  SourceCheckpoint checkpoint;
  Plan plan;
  FileSource source;
  std::vector<ReadableTensor> tensors;
};

void CheckpointReader::State::add_reads(const Region& region,
                                        std::vector<RegionRead>& reads) const {
  if (region.tensor >= tensors.size()) {
    refuse(ErrorCode::invalid_argument, "", "there is no tensor of this number",
           "less than " + std::to_string(tensors.size()), std::to_string(region.tensor));
  }
  const ReadableTensor& tensor = tensors[region.tensor];
  check_box(tensor, region.begin, region.extent, region.strides);
  if (element_count(region.extent) == 0) return;
  check_memory(tensor, region);
  const std::vector<std::int64_t> strides = checked_strides(tensor, region.extent, region.strides);
  for (const Recipe& recipe : recipes_of(region.tensor)) {
    RegionRead read{.recipe = &recipe,
                    .shape = tensor.shape,
                    .begin = region.begin,
                    .extent = region.extent,
                    .data = region.data,
                    .strides = strides,
                    .from = recipe.from,
                    .to = region.dtype};
    if (recipe.operation == Operation::copy) read.from = tensor.dtype;
    if (!narrow_to_recipe(read, plan.target[region.tensor])) continue;
    stack(read);
    reads.push_back(std::move(read));
  }
}

CheckpointReader::CheckpointReader(const ReaderOptions& options) {
  check_attn(options.layout, options.backend.attn);
  SourceCheckpoint checkpoint = open_source(options.source, options.orientation);
  require_sound(checkpoint);
  state_ = std::make_unique<State>(std::move(checkpoint), Target{.layout = options.layout,
                                                                 .attn = options.backend.attn,
                                                                 .dtype = options.dtype,
                                                                 .dense_dtype = options.dense_dtype,
                                                                 .excluded = {},
                                                                 .reference_scales = {},
                                                                 .adds_tied_head = true});
}

CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;
CheckpointReader::~CheckpointReader() = default;

const std::vector<ReadableTensor>& CheckpointReader::tensors() const noexcept {
  return state_->tensors;
}

std::uint64_t CheckpointReader::read(const std::vector<Region>& regions,
                                     const ReadOptions& options) const {
  std::vector<RegionRead> reads;
  ConvertProgress progress;
  for (const Region& region : regions) {
    state_->add_reads(region, reads);
    progress.bytes_total += static_cast<std::uint64_t>(element_count(region.extent)) *
                            static_cast<std::uint64_t>(bits(region.dtype)) / 8;
  }
  std::function<void(std::uint64_t)> report;
  if (options.progress) {
    report = [&](std::uint64_t bytes) {
      progress.bytes_done = bytes;
      options.progress(progress);
    };
  }
  const std::uint64_t bytes =
      read_regions(reads, state_->source,
                   {.threads = options.threads > 0 ? options.threads : available_threads(),
                    .stop = options.stop,
                    .progress = report});
  if (report) report(progress.bytes_total);
  return bytes;
}

}  // namespace mxferry
