// A checkpoint converted file by file against the same tensors converted in memory.
#include <array>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>

#include "fuzz/input.h"
#include "mxferry/convert.h"
#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "mxferry/safetensors.h"
#include "tests/base/temp_folder.h"

namespace mxferry::internal::fuzz {
namespace {

namespace fs = std::filesystem;

struct Sizes {
  std::int64_t layers, experts, hidden, intermediate;
};

// The hidden size differs from the intermediate size, so that a transpose shows.
Sizes any_sizes(Choices& choices) {
  Sizes sizes{};
  sizes.layers = 1 + static_cast<std::int64_t>(choices.below(2));
  sizes.experts = 1 + static_cast<std::int64_t>(choices.below(3));
  sizes.hidden = 32 * (1 + static_cast<std::int64_t>(choices.below(4)));
  sizes.intermediate = 32 * (1 + static_cast<std::int64_t>(choices.below(4)));
  if (sizes.intermediate == sizes.hidden) sizes.intermediate += 32;
  return sizes;
}

class Model {
 public:
  Model(Choices& choices, const Sizes& sizes) : choices_(choices), sizes_(sizes) {
    wild_ = choices.flag();
    for (std::int64_t layer = 0; layer < sizes.layers; ++layer) add_layer(layer);
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
      add(name, DType::BF16, {3, sizes.hidden});
    }
    add("model.norm.weight", DType::BF16, {sizes.hidden});
  }
  const StateDict& tensors() const { return dict_; }

 private:
  static constexpr std::int64_t kHeads = 8;  // of size 1

  void add(const std::string& name, DType dtype, Shape shape) {
    Tensor tensor = Tensor::empty(dtype, std::move(shape));
    const std::span bytes(tensor.as<std::uint8_t>(), tensor.byte_count());
    choices_.fill(bytes);
    if (!wild_ && name.ends_with("_scales")) {
      for (std::uint8_t& scale : bytes) scale = static_cast<std::uint8_t>(112 + scale % 28);
    }
    dict_.set(name, std::move(tensor));
  }
  void add_packed(const std::string& name, std::int64_t rows, std::int64_t columns) {
    add(name + "_bias", DType::BF16, {sizes_.experts, rows});
    add(name + "_scales", DType::U8, {sizes_.experts, rows, columns / 32});
    add(name + "_blocks", DType::U8, {sizes_.experts, rows, columns / 32, 16});
  }
  void add_layer(std::int64_t layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    add(prefix + "self_attn.sinks", DType::BF16, {kHeads});
    for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
      add(prefix + "self_attn." + name + ".weight", DType::BF16, {kHeads, sizes_.hidden});
      add(prefix + "self_attn." + name + ".bias", DType::BF16, {kHeads});
    }
    add(prefix + "self_attn.o_proj.weight", DType::BF16, {sizes_.hidden, kHeads});
    add(prefix + "self_attn.o_proj.bias", DType::BF16, {sizes_.hidden});
    add(prefix + "input_layernorm.weight", DType::BF16, {sizes_.hidden});
    add(prefix + "post_attention_layernorm.weight", DType::BF16, {sizes_.hidden});
    add_packed(prefix + "mlp.experts.down_proj", sizes_.hidden, sizes_.intermediate);
    add_packed(prefix + "mlp.experts.gate_up_proj", 2 * sizes_.intermediate, sizes_.hidden);
    add(prefix + "mlp.router.bias", DType::BF16, {sizes_.experts});
    add(prefix + "mlp.router.weight", DType::BF16, {sizes_.experts, sizes_.hidden});
  }

  Choices& choices_;
  const Sizes& sizes_;
  bool wild_ = false;
  StateDict dict_;
};

bool is_same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.byte_count() == 0 || std::memcmp(a.data(), b.data(), a.byte_count()) == 0);
}

// All tensors of a folder.
std::map<std::string, Tensor> load(const fs::path& folder) {
  std::map<std::string, Tensor> tensors;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    for (const auto& [name, tensor] : load_safetensors(entry.path())) tensors[name] = tensor;
  }
  return tensors;
}

void require_same(const fs::path& folder, const StateDict& expected) {
  const std::map<std::string, Tensor> found = load(folder);
  require(found.size() == expected.size(), "both ways give the same names");
  for (const auto& [name, tensor] : expected) {
    const auto place = found.find(name);
    require(place != found.end() && is_same(place->second, tensor),
            "both ways give the same bytes");
  }
}

bool has_code(const Error& error, std::initializer_list<ErrorCode> codes) {
  return std::ranges::find(codes, error.code()) != codes.end();
}

}  // namespace

void streamed(Input input) {
  constexpr std::array kCodecs = {Codec::bf16, Codec::f32, Codec::f16};
  constexpr std::array<std::uint64_t, 4> kShardSizes = {5'000'000'000, 100'000, 10'000, 1};
  constexpr std::array<std::uint64_t, 3> kMemory = {1 << 30, 20 << 20, 15 << 20};
  Choices choices(input);
  const Codec codec = choices.one_of(kCodecs);
  ConvertOptions options;
  options.to = Layout::nemo;
  options.dtype = codec;
  options.dense_dtype = DType::BF16;
  options.backend.attn = choices.flag() ? "te" : "flex";
  options.max_shard_size = choices.one_of(kShardSizes);
  options.max_memory = choices.one_of(kMemory);
  options.threads = 1 + static_cast<int>(choices.below(3));
  options.sync = false;
  options.allow_nonfinite = true;
  const Sizes sizes = any_sizes(choices);
  const Model model(choices, sizes);

  static const testing::TempFolder folder;
  fs::remove_all(folder / "a");
  fs::create_directory(folder / "a");
  save_safetensors(model.tensors(), folder / "a/model.safetensors");
  const GPTOSSStateDictAdapter adapter({}, {}, options.backend, *dense_dtype(codec));
  options.source = folder / "a";
  options.destination = folder / "b";
  options.force = true;
  try {
    convert(options);
  } catch (const Error& error) {
    // Files refuse what FP16 cannot hold, and take no less memory than they need.
    require(has_code(error, {ErrorCode::overflow, ErrorCode::not_enough_memory}),
            "what is sound can be converted");
    return;
  }
  StateDict native = model.tensors();
  adapter.from_hf(native);
  require_same(folder / "b", native);

  options.source = folder / "b";
  options.destination = folder / "c";
  options.to = Layout::hf;
  options.backend.attn = "flex";
  options.dtype = Codec::mxfp4;
  options.allow_nonfinite = false;
  std::optional<ErrorCode> refused;
  try {
    convert(options);
  } catch (const Error& error) {
    require(has_code(error, {ErrorCode::nonfinite_weight, ErrorCode::not_enough_memory}),
            "what is dense can be quantized");
    if (error.code() == ErrorCode::not_enough_memory) return;
    refused = error.code();
  }
  try {
    const StateDict packed = adapter.to_hf(native, "", Quantization::values);
    require(!refused, "both ways refuse the same weights");
    require_same(folder / "c", packed);
  } catch (const Error& error) {
    require(refused == error.code(), "both ways refuse the same weights");
  }
}

}  // namespace mxferry::internal::fuzz
