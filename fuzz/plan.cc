// What a checkpoint of any names, dtypes and shapes is taken for, and how it would be converted.
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "destination/shard_files.h"
#include "flow/tile.h"
#include "fuzz/input.h"
#include "gpt_oss/layout_table.h"
#include "gpt_oss/plan.h"
#include "gpt_oss/probe.h"
#include "mxferry/error.h"
#include "tests/gpt_oss/catalogs.h"

namespace mxferry::internal::fuzz {
namespace {

// Sizes as models have them, and the ends of what a file may say.
constexpr std::array<std::int64_t, 24> kSizes = {64,
                                                 32,
                                                 96,
                                                 1,
                                                 2,
                                                 0,
                                                 16,
                                                 3,
                                                 192,
                                                 128,
                                                 8,
                                                 4,
                                                 31,
                                                 33,
                                                 2880,
                                                 5760,
                                                 1 << 20,
                                                 std::int64_t{1} << 31,
                                                 std::int64_t{1} << 32,
                                                 std::int64_t{1} << 61,
                                                 std::int64_t{1} << 62,
                                                 std::numeric_limits<std::int64_t>::max(),
                                                 65,
                                                 201088};
constexpr std::array<std::string_view, 7> kPrefixes = {"model.layers.0.",
                                                       "block.0.",
                                                       "model.layers.1.",
                                                       "block.1.",
                                                       "model.",
                                                       "",
                                                       "model.layers.99999999999999999999."};
constexpr std::array<std::string_view, 3> kAttn = {"flex", "te", "sdpa"};

constexpr std::array kFields = {&GptOssConfig::num_hidden_layers,
                                &GptOssConfig::num_local_experts,
                                &GptOssConfig::hidden_size,
                                &GptOssConfig::intermediate_size,
                                &GptOssConfig::num_attention_heads,
                                &GptOssConfig::num_key_value_heads,
                                &GptOssConfig::head_dim,
                                &GptOssConfig::vocab_size};

// Three of four names are known to some layout.
std::string any_name(Choices& choices) {
  std::string name(choices.one_of(kPrefixes));
  const std::size_t from = choices.below(4);
  if (from == 3) {
    for (std::size_t length = choices.below(8); length > 0; --length) {
      name += static_cast<char>(choices.byte() % 128);
    }
    return name;
  }
  const auto rows = layout_rows(static_cast<Layout>(from), choices.one_of(kAttn));
  const LayoutRow& row = choices.one_of(rows);
  name += row.suffix;
  const std::size_t piece = choices.below(3);
  if (piece == 1) name += row.blocks_ending;
  if (piece == 2) name += row.scales_ending;
  return name;
}

// Nothing that a file could not hold: its shape is valid, and the file has an end.
bool is_possible(StoredTensor& tensor) {
  try {
    tensor.byte_count =
        byte_count({.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape}, "");
    return tensor.byte_count <= std::uint64_t{1} << 50;
  } catch (const Error& error) {
    require(category(error.code()) == ErrorCategory::source, "the shape is to blame");
    return false;
  }
}

void change(StoredTensor& tensor, Choices& choices) {
  switch (choices.below(4)) {
    case 0:
      tensor.name = any_name(choices);
      break;
    case 1:
      tensor.dtype = static_cast<DType>(choices.below(22));
      break;
    case 2:
      if (choices.flag() && !tensor.shape.empty())
        tensor.shape.pop_back();
      else if (tensor.shape.size() < kHighestRank)
        tensor.shape.push_back(choices.one_of(kSizes));
      break;
    default:
      if (tensor.shape.empty()) break;
      tensor.shape[choices.below(tensor.shape.size())] = choices.one_of(kSizes);
  }
}

// A whole checkpoint with a few changes.
Catalog any_catalog(Choices& choices, const GptOssConfig& config) {
  const testing::Stored stored{.layout = static_cast<Layout>(choices.below(3)),
                               .attn = std::string(choices.one_of(kAttn)),
                               .packed = choices.flag(),
                               .dtype = choices.flag() ? DType::F32 : DType::BF16,
                               .swapped = choices.flag()};
  // NeMo's layout has no names for packed experts.
  const bool is_packed = stored.packed && stored.layout != Layout::nemo;
  Catalog whole = testing::make_catalog(
      {stored.layout, stored.attn, is_packed, stored.dtype, stored.swapped}, config);
  for (std::size_t changes = choices.below(12); changes > 0; --changes) {
    const std::size_t place = choices.below(whole.size() + 1);
    if (place == whole.size())
      whole.push_back({.name = any_name(choices), .dtype = DType::BF16, .shape = {1}});
    change(whole[place], choices);
  }
  std::map<std::string, StoredTensor> by_name;
  for (StoredTensor& tensor : whole) {
    if (!is_possible(tensor)) continue;
    by_name[tensor.name] = tensor;
  }
  Catalog catalog;
  std::uint64_t end = 0;
  for (auto& [name, tensor] : by_name) {
    tensor.offset = end;
    end += tensor.byte_count;
    catalog.push_back(std::move(tensor));
  }
  return catalog;
}

// What config.json says: the truth, nothing, or anything.
std::optional<GptOssConfig> any_config(Choices& choices, const GptOssConfig& truth) {
  const std::size_t kind = choices.below(3);
  if (kind == 1) return std::nullopt;
  GptOssConfig config = truth;
  if (kind == 0) return config;
  for (std::int64_t GptOssConfig::* field : kFields) {
    if (choices.flag()) config.*field = choices.one_of(kSizes) % (std::int64_t{1} << 31);
  }
  return config;
}

GptOssConfig any_model(Choices& choices) {
  GptOssConfig config = testing::kConfig;
  if (choices.flag()) config.intermediate_size = config.hidden_size;
  if (choices.flag()) config.num_hidden_layers = 1;
  if (choices.flag()) config.num_local_experts = 1;
  return config;
}

// Whether the tiles of a recipe are what its target is made of.
void require_whole(const Recipe& recipe, const Catalog& target) {
  const TileLimits limits{.source_bytes = 1 << 20, .target_bytes = 1 << 18, .parts = 8};
  require(scratch_sizes(recipe, limits).total() < std::size_t{1} << 40, "buffers are bounded");
  const Tiling tiling(recipe, limits);
  constexpr std::int64_t kMost = 1000;
  if (tiling.count() > kMost) return;
  std::uint64_t bytes = 0;
  for (std::int64_t i = 0; i < tiling.count(); ++i) {
    bytes += target_bytes(recipe, tiling.tile(i));
  }
  require(bytes <= target.at(recipe.target).byte_count || recipe.operation == Operation::encode,
          "tiles stay within their tensor");
}

}  // namespace

void plan(Input input) {
  Choices choices(input);
  const Target target{
      .layout = static_cast<Layout>(choices.below(3)),
      .attn = choices.flag() ? "te" : "flex",
      .dtype = choices.flag() ? std::optional(static_cast<Codec>(choices.below(4))) : std::nullopt};
  Orientations orientations;
  if (choices.flag()) orientations.forced = AxisOrder::in_out;
  const GptOssConfig model = any_model(choices);
  const std::optional<GptOssConfig> sizes = any_config(choices, model);
  const ConfigFacts config = sizes ? ConfigFacts(*sizes) : ConfigFacts();
  const Catalog catalog = any_catalog(choices, model);
  const Description description = probe(catalog, {}, config, orientations);
  for (const Problem& problem : description.problems) {
    require(!problem.text.empty(), "a problem has words");
    if (problem.severity == Severity::fatal) return;
  }
  if (!description.layout) return;
  try {
    Plan planned = make_plan(catalog, description, target);
    for (const Recipe& recipe : planned.recipes) require_whole(recipe, planned.target);
    lay_out(planned.target, {"model.safetensors"});
  } catch (const Error& error) {
    const ErrorCategory blamed = category(error.code());
    require(blamed == ErrorCategory::source || blamed == ErrorCategory::usage,
            "the checkpoint or what is asked of it is to blame");
  }
}

}  // namespace mxferry::internal::fuzz
