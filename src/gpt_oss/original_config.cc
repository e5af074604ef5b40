#include "gpt_oss/original_config.h"

#include <array>
#include <cstdint>
#include <string_view>

#include "gpt_oss/config_object.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

using Json = nlohmann::ordered_json;

// The published models' position embedding, which is also transformers' default for a config that
// says nothing about it.
constexpr double kFactor = 32.0;
constexpr double kBetaFast = 32.0;
constexpr double kBetaSlow = 1.0;
constexpr int kContext = 4096;

bool is_given(const Json& object, const char* key) {
  return object.contains(key) && !object[key].is_null();
}

// YaRN as OpenAI's code computes it.
struct Rope {
  Json theta = 150000;
  Json factor = kFactor;
  Json beta_fast = kBetaFast;
  Json beta_slow = kBetaSlow;
  Json context;  // null if the config does not tell
};

// Reads the position embedding of a Hugging Face config: transformers 5 writes `rope_parameters`,
// 4 wrote `rope_scaling` beside `rope_theta`. Of both, a `rope_scaling` that is not empty is read,
// as in transformers (5.18, modeling_rope_utils.py). Whatever has no meaning for OpenAI's code is
// an error: a default in its place would make another model.
class RopeReader {
 public:
  RopeReader(const Json& hf, const std::filesystem::path& file)
      : hf_(hf),
        file_(file),
        key_(is_given(hf, "rope_scaling") && !hf["rope_scaling"].empty() ? "rope_scaling"
                                                                         : "rope_parameters") {}

  Rope read(std::vector<std::string>& warnings) const {
    Rope rope;
    if (is_given(hf_, "rope_theta")) rope.theta = number(hf_, "rope_theta");
    if (!is_given(hf_, key_.c_str())) return rope;
    const Json& given = hf_[key_];
    if (!given.is_object()) refuse(key_, "an object", given);
    if (is_given(given, "rope_theta")) rope.theta = number(given, "rope_theta");
    const Json type = given.value("rope_type", given.value("type", Json("default")));
    if (type == "default") {
      rope.factor = 1.0;
    } else if (type == "yarn") {
      read_yarn(given, rope, warnings);
    } else {
      refuse(key_ + ".rope_type", "yarn or default", type);
    }
    return rope;
  }

 private:
  void read_yarn(const Json& given, Rope& rope, std::vector<std::string>& warnings) const {
    if (!given.contains("factor")) refuse(key_ + ".factor", "a number", Json());
    rope.factor = number(given, "factor");
    if (is_given(given, "beta_fast")) rope.beta_fast = number(given, "beta_fast");
    if (is_given(given, "beta_slow")) rope.beta_slow = number(given, "beta_slow");
    if (is_given(given, "original_max_position_embeddings")) {
      rope.context = number(given, "original_max_position_embeddings");
    } else if (is_given(hf_, "max_position_embeddings")) {
      rope.context = number(hf_, "max_position_embeddings");
    }
    for (const char* const key : {"attention_factor", "mscale", "mscale_all_dim"}) {
      if (is_given(given, key)) refuse(key_ + "." + key, "none", given[key]);
    }
    if (given.value("truncate", Json(true)) != false) {
      warnings.push_back(key_ +
                         " does not say \"truncate\": false, so transformers rounds the borders of "
                         "YaRN's ramp; OpenAI's code does not");
    }
  }

  Json number(const Json& object, const char* key) const {
    const Json& value = object[key];
    if (!value.is_number() || value.get<double>() <= 0) refuse(key, "a positive number", value);
    return value;
  }

  [[noreturn]] void refuse(const std::string& key, const char* expected, const Json& found) const {
    constexpr std::size_t kLongest = 80;
    throw Error(
        ErrorCode::invalid_config,
        {.problem = "OpenAI's code cannot compute this position embedding: '" + key + "'",
         .file = file_,
         .expected = expected,
         .found = found.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, kLongest),
         .advice = "Convert to another layout, or put right what config.json says"});
  }

  const Json& hf_;
  const std::filesystem::path& file_;
  std::string key_;
};

// OpenAI's code has these settings as constants.
void warn_of_lost_settings(const Json& hf, std::vector<std::string>& warnings) {
  const auto types = hf.find("layer_types");
  if (types != hf.end() && types->is_array()) {
    for (std::size_t layer = 0; layer < types->size(); ++layer) {
      if ((*types)[layer] == (layer % 2 == 0 ? "sliding_attention" : "full_attention")) continue;
      warnings.push_back(
          "layer " + std::to_string(layer) +
          " has another attention by layer_types; OpenAI's code has a sliding window "
          "in layers 0, 2, 4 and so on");
      break;
    }
  }
  if (is_given(hf, "block_configs")) {
    warnings.emplace_back("block_configs is lost; OpenAI's code has one number of experts");
  }
  constexpr double kEpsilon = 1e-5;
  if (hf.value("rms_norm_eps", Json(kEpsilon)) != kEpsilon) {
    warnings.push_back("rms_norm_eps is " + hf["rms_norm_eps"].dump() +
                       "; OpenAI's code computes with 1e-05");
  }
}

Json alternating_layers(const Json& count, const std::filesystem::path& file) {
  // Each layer becomes a value of the config, which parse_config_object() must accept again.
  constexpr std::int64_t kMostLayers = kMostConfigValues / 2;
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

}  // namespace

Json original_from_hf(const Json& hf, const std::filesystem::path& file,
                      std::vector<std::string>& warnings) {
  const Rope rope = RopeReader(hf, file).read(warnings);
  warn_of_lost_settings(hf, warnings);
  Json original = Json::object();
  const auto take = [&](const char* key, const char* from, const Json& fallback) {
    original[key] = is_given(hf, from) ? hf[from] : fallback;
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
  if (rope.context.is_null()) {
    take("initial_context_length", "initial_context_length", kContext);
  } else {
    original["initial_context_length"] = rope.context;
  }
  original["rope_theta"] = rope.theta;
  original["rope_scaling_factor"] = rope.factor;
  original["rope_ntk_alpha"] = rope.beta_slow;
  original["rope_ntk_beta"] = rope.beta_fast;
  return original;
}

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
  hf["layer_types"] = alternating_layers(layers, file);
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

}  // namespace mxferry::internal
