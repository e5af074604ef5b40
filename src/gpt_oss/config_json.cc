#include "gpt_oss/config_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "gpt_oss/layout_table.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

using Json = nlohmann::ordered_json;

// Limits far above real configs. They bound memory, about 80 bytes per value, and time: the parser
// compares each key of an object with those before it.
constexpr int kDeepestNesting = 32;
constexpr int kMostKeys = 10'000;
constexpr int kMostValues = 200'000;

Error refusal(const std::filesystem::path& file, std::string problem, std::string found) {
  return {ErrorCode::invalid_config,
          {.problem = std::move(problem),
           .file = file,
           .expected = "a JSON object",
           .found = std::move(found)}};
}

// Walks through a text and throws if it exceeds the limits. Invalid JSON ends the walk. (The parser
// has callbacks for this, but with them its time grows with the square of the number of objects in
// an array.)
class LimitCheck final : public nlohmann::json_sax<Json> {
 public:
  explicit LimitCheck(const std::filesystem::path& file) : file_(file) {}

  bool null() override { return value(); }
  bool boolean(bool /*value*/) override { return value(); }
  bool number_integer(std::int64_t /*value*/) override { return value(); }
  bool number_unsigned(std::uint64_t /*value*/) override { return value(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return value(); }
  bool string(std::string& /*value*/) override { return value(); }
  bool binary(Json::binary_t& /*value*/) override { return value(); }
  bool start_object(std::size_t /*size*/) override { return begin(); }
  bool start_array(std::size_t /*size*/) override { return begin(); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(std::string& /*name*/) override {
    if (++keys_ > kMostKeys) refuse("too many keys", kMostKeys);
    return true;
  }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const Json::exception& /*error*/) override {
    return false;
  }

 private:
  bool value() {
    if (++values_ > kMostValues) refuse("too many values", kMostValues);
    return true;
  }
  bool begin() {
    if (++depth_ > kDeepestNesting) refuse("nested too deeply", kDeepestNesting);
    return value();
  }
  bool end() {
    --depth_;
    return true;
  }
  [[noreturn]] void refuse(const char* problem, int most) const {
    throw refusal(file_, problem, "more than " + std::to_string(most));
  }

  const std::filesystem::path& file_;
  int depth_ = 0;
  int keys_ = 0;
  int values_ = 0;
};

Json parse_object(const std::string& text, const std::filesystem::path& file) {
  // The parser would take a NUL for the end of the text.
  if (text.find('\0') != std::string::npos) throw refusal(file, "not valid JSON", "a NUL");
  LimitCheck limits(file);
  Json json;
  try {
    Json::sax_parse(text, &limits);
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    // The message quotes the text that the parser could not read, however long that is.
    constexpr std::size_t kLongestReason = 300;
    throw refusal(file, "not valid JSON", std::string(error.what()).substr(0, kLongestReason));
  }
  if (!json.is_object()) throw refusal(file, "not a configuration", json.type_name());
  return json;
}

struct SizeKey {
  std::int64_t GptOssConfig::* field;
  std::string_view hf;
  std::string_view original;
};

constexpr std::array<SizeKey, 8> kSizeKeys = {{
    {&GptOssConfig::num_hidden_layers, "num_hidden_layers", "num_hidden_layers"},
    {&GptOssConfig::num_local_experts, "num_local_experts", "num_experts"},
    {&GptOssConfig::hidden_size, "hidden_size", "hidden_size"},
    {&GptOssConfig::intermediate_size, "intermediate_size", "intermediate_size"},
    {&GptOssConfig::num_attention_heads, "num_attention_heads", "num_attention_heads"},
    {&GptOssConfig::num_key_value_heads, "num_key_value_heads", "num_key_value_heads"},
    {&GptOssConfig::head_dim, "head_dim", "head_dim"},
    {&GptOssConfig::vocab_size, "vocab_size", "vocab_size"},
}};

std::int64_t size_value(const Json& json, std::string_view key, const std::filesystem::path& file) {
  const auto entry = json.find(key);
  if (entry == json.end() || entry->is_null()) return 0;
  constexpr std::int64_t kLargest = (std::int64_t{1} << 31) - 1;
  if (entry->is_number_unsigned()) {
    const auto value = entry->get<std::uint64_t>();
    if (value > 0 && value <= kLargest) return static_cast<std::int64_t>(value);
  }
  throw Error(ErrorCode::invalid_config,
              {.problem = "'" + std::string(key) + "' is not a valid size",
               .file = file,
               .expected = "a positive integer below 2^31",
               .found = entry->dump().substr(0, 80)});
}

Json quantization_config(QuantizationConfig style) {
  switch (style) {
    case QuantizationConfig::mlx:
      // As mlx-lm 0.32 writes it.
      return {{"group_size", kBlockSize}, {"bits", 4}, {"mode", "mxfp4"}};
    case QuantizationConfig::compressed_tensors:
      // As compressed-tensors 0.20 reads it; all linear layers but the experts' stay dense.
      return {{"quant_method", "compressed-tensors"},
              {"format", "mxfp4-pack-quantized"},
              {"quantization_status", "compressed"},
              {"config_groups",
               {{"group_0",
                 {{"targets", {"Linear"}},
                  {"format", "mxfp4-pack-quantized"},
                  {"weights",
                   {{"num_bits", 4},
                    {"type", "float"},
                    {"symmetric", true},
                    {"dynamic", false},
                    {"strategy", "group"},
                    {"group_size", kBlockSize},
                    {"scale_dtype", "torch.uint8"}}}}}}},
              {"ignore", {"re:.*self_attn.*", "re:.*router.*", "re:.*embed_tokens", "lm_head"}}};
    case QuantizationConfig::mxfp4:
      break;
  }
  // As in the published openai/gpt-oss-20b and -120b.
  return {
      {"modules_to_not_convert",
       {"model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"}},
      {"quant_method", "mxfp4"}};
}

// Whether a config's own quantization_config says what the target needs, perhaps with more.
bool fits(const Json& config, const char* key, QuantizationConfig style) {
  if (!config.contains(key) || !config[key].is_object()) return false;
  const Json wanted = quantization_config(style);
  return std::ranges::all_of(std::array{"quant_method", "format", "mode"}, [&](const char* word) {
    return config[key].value(word, Json()) == wanted.value(word, Json());
  });
}

std::string_view torch_name(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return "float16";
    case DType::F32:
      return "float32";
    default:
      return "bfloat16";
  }
}

// OpenAI's keys in their order, with the values of Hugging Face's equivalent keys or else OpenAI's
// defaults (gpt_oss/torch/model.py).
Json original_from_hf(const Json& hf) {
  const auto scaling = hf.find("rope_scaling");
  const Json rope = scaling != hf.end() && scaling->is_object() ? *scaling : Json::object();
  Json original = Json::object();
  const auto take = [&](const char* key, const char* from, const Json& fallback) {
    original[key] = hf.contains(from) ? hf[from] : fallback;
  };
  take("num_hidden_layers", "num_hidden_layers", 36);
  take("num_experts", "num_local_experts", 128);
  take("experts_per_token", "num_experts_per_tok", 4);
  take("vocab_size", "vocab_size", 201088);
  take("hidden_size", "hidden_size", 2880);
  take("intermediate_size", "intermediate_size", 2880);
  take("swiglu_limit", "swiglu_limit", 7.0);
  take("head_dim", "head_dim", 64);
  take("num_attention_heads", "num_attention_heads", 64);
  take("num_key_value_heads", "num_key_value_heads", 8);
  take("sliding_window", "sliding_window", 128);
  take("initial_context_length", "initial_context_length",
       rope.value("original_max_position_embeddings", Json(4096)));
  take("rope_theta", "rope_theta", 150000);
  original["rope_scaling_factor"] = rope.value("factor", Json(32.0));
  original["rope_ntk_alpha"] = rope.value("beta_slow", Json(1.0));
  original["rope_ntk_beta"] = rope.value("beta_fast", Json(32.0));
  return original;
}

Json layer_types(const Json& count, const std::filesystem::path& file) {
  // Each layer becomes a value of the config, which parse_object() must accept again.
  constexpr std::int64_t kMostLayers = kMostValues / 2;
  Json types = Json::array();
  const std::int64_t layers = count.is_number_integer() ? count.get<std::int64_t>() : 0;
  if (layers > kMostLayers) {
    throw Error(ErrorCode::invalid_config, {.problem = "too many layers",
                                            .file = file,
                                            .expected = "at most " + std::to_string(kMostLayers),
                                            .found = count.dump()});
  }
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    types.push_back(layer % 2 == 0 ? "sliding_attention" : "full_attention");
  }
  return types;
}

// A published token, or null if the vocabulary is too small for it: transformers builds no model
// from a config with tokens beyond the vocabulary.
Json special_token(std::int64_t token, const Json& vocab_size) {
  const bool is_beyond = vocab_size.is_number_integer() && vocab_size.get<std::int64_t>() <= token;
  return is_beyond ? Json() : Json(token);
}

// The product, or the published models' context length if the two give no sensible one.
std::int64_t longest_context(const Json& initial, const Json& factor) {
  constexpr std::int64_t kPublished = 131072;
  constexpr double kLargest = 0x1p53;  // doubles hold every integer up to here
  if (!initial.is_number() || !factor.is_number()) return kPublished;
  const double longest = initial.get<double>() * factor.get<double>();
  return longest >= 1 && longest <= kLargest ? static_cast<std::int64_t>(longest) : kPublished;
}

// The published config.json of openai/gpt-oss-20b with the sizes of `original`.
Json hf_from_original(const Json& original, const std::filesystem::path& file) {
  const auto value = [&](const char* key, Json fallback) {
    return original.value(key, std::move(fallback));
  };
  const Json factor = value("rope_scaling_factor", 32.0);
  const Json initial = value("initial_context_length", 4096);
  const Json layers = value("num_hidden_layers", 36);
  const Json vocab_size = value("vocab_size", 201088);
  Json hf = Json::object();
  hf["architectures"] = {"GptOssForCausalLM"};
  hf["attention_bias"] = true;
  hf["attention_dropout"] = 0.0;
  hf["eos_token_id"] = special_token(200002, vocab_size);
  hf["experts_per_token"] = value("experts_per_token", 4);
  hf["head_dim"] = value("head_dim", 64);
  hf["hidden_act"] = "silu";
  hf["hidden_size"] = value("hidden_size", 2880);
  hf["initial_context_length"] = initial;
  hf["initializer_range"] = 0.02;
  hf["intermediate_size"] = value("intermediate_size", 2880);
  hf["layer_types"] = layer_types(layers, file);
  hf["max_position_embeddings"] = longest_context(initial, factor);
  hf["model_type"] = "gpt_oss";
  hf["num_attention_heads"] = value("num_attention_heads", 64);
  hf["num_experts_per_tok"] = value("experts_per_token", 4);
  hf["num_hidden_layers"] = layers;
  hf["num_key_value_heads"] = value("num_key_value_heads", 8);
  hf["num_local_experts"] = value("num_experts", 128);
  hf["output_router_logits"] = false;
  hf["pad_token_id"] = special_token(199999, vocab_size);
  hf["rms_norm_eps"] = 1e-5;
  hf["rope_scaling"] = {{"beta_fast", value("rope_ntk_beta", 32.0)},
                        {"beta_slow", value("rope_ntk_alpha", 1.0)},
                        {"factor", factor},
                        {"original_max_position_embeddings", initial},
                        {"rope_type", "yarn"},
                        {"truncate", false}};
  hf["rope_theta"] = value("rope_theta", 150000);
  hf["router_aux_loss_coef"] = 0.9;
  hf["sliding_window"] = value("sliding_window", 128);
  hf["swiglu_limit"] = value("swiglu_limit", 7.0);
  hf["tie_word_embeddings"] = false;
  hf["torch_dtype"] = "bfloat16";
  hf["use_cache"] = true;
  hf["vocab_size"] = vocab_size;
  return hf;
}

void set_weight_keys(Json& hf, const ConfigEdit& edit) {
  constexpr const char* kKey = "quantization_config";
  const QuantizationConfig style = layout_table(edit.to).quantization;
  hf.erase("quantization");
  if (!edit.packed) {
    hf.erase(kKey);
  } else if (!fits(hf, kKey, style)) {
    hf[kKey] = quantization_config(style);
  }
  // mlx-lm reads the one, and writes both for other programs.
  if (edit.packed && style == QuantizationConfig::mlx) hf["quantization"] = hf[kKey];
  if (edit.torch_dtype) {
    const bool new_key = hf.contains("dtype") && !hf.contains("torch_dtype");
    hf[new_key ? "dtype" : "torch_dtype"] = torch_name(*edit.torch_dtype);
  }
}

}  // namespace

GptOssConfig parse_config(const std::string& text, const std::filesystem::path& file) {
  const Json json = parse_object(text, file);
  GptOssConfig config;
  for (const SizeKey& key : kSizeKeys) {
    config.*key.field = size_value(json, key.hf, file);
    if (config.*key.field == 0) config.*key.field = size_value(json, key.original, file);
  }
  return config;
}

std::string edit_config(const std::string& text, const std::filesystem::path& file,
                        const ConfigEdit& edit) {
  Json json = parse_object(text, file);
  // The config's style need not match the layout of the weights: most layouts share one.
  const bool is_original = json.contains("num_experts") && !json.contains("num_local_experts");
  if (layout_table(edit.to).config == ConfigStyle::original) {
    if (!is_original) json = original_from_hf(json);
  } else {
    if (is_original) json = hf_from_original(json, file);
    set_weight_keys(json, edit);
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace mxferry::internal
