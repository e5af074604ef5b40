#include "gpt_oss/config_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "gpt_oss/config_object.h"
#include "gpt_oss/layout_table.h"
#include "gpt_oss/original_config.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

using Json = nlohmann::ordered_json;

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

// The part of a larger model's config that describes gpt-oss; null if the config is its own.
const Json* text_config(const Json& config) {
  const auto inner = config.find("text_config");
  const bool is_larger = inner != config.end() && inner->is_object() &&
                         config.value("num_local_experts", Json()).is_null();
  return is_larger ? &*inner : nullptr;
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
  const auto has = [&](const char* word) {
    return config[key].value(word, Json()) == wanted.value(word, Json());
  };
  return std::ranges::all_of(std::array{"quant_method", "format", "mode"}, has) &&
         std::ranges::all_of(std::array{"group_size", "bits"},
                             [&](const char* word) { return !wanted.contains(word) || has(word); });
}

std::vector<std::int64_t> experts_by_layer(const Json& config, const std::filesystem::path& file) {
  std::vector<std::int64_t> counts;
  const auto layers = config.find("block_configs");
  if (layers == config.end() || !layers->is_array()) return counts;
  for (const Json& layer : *layers) {
    if (!layer.is_object()) return {};
    counts.push_back(size_value(layer, "num_local_experts", file));
    if (counts.back() == 0) return {};
  }
  return counts;
}

constexpr std::string_view kBackboneClass = "GptOssModel";

// The quantization that a config names and no layout has, for people; else empty.
std::string named_quantization(const Json& config) {
  for (const char* const key : {"quantization_config", "quantization"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_object()) continue;
    if (found->value("quant_method", Json()) == "quark") continue;  // read, never written
    const bool is_known = std::ranges::any_of(layout_tables(), [&](const LayoutTable& table) {
      return fits(config, key, table.quantization);
    });
    if (is_known) continue;
    std::string text;
    for (const char* const word : {"quant_method", "mode", "format", "quant_algo"}) {
      const Json value = found->value(word, Json());
      if (!value.is_string()) continue;
      constexpr std::size_t kLongest = 40;
      text += (text.empty() ? "" : ", ") + value.get<std::string>().substr(0, kLongest);
    }
    return text.empty() ? "of no known method" : text;
  }
  return "";
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

// Makes the config describe the target's weights.
class Editor {
 public:
  Editor(Json& hf, const ConfigEdit& edit, std::vector<Problem>& problems)
      : hf_(hf), edit_(edit), problems_(problems) {}

  void run() {
    set_sizes();
    set_quantization();
    set_dtype();
    set_architecture();
    if (layout_table(edit_.to).reads_rope_scaling) spell_rope_as_before();
    if (edit_.adds_head && hf_.value("tie_word_embeddings", Json(false)) != false) {
      hf_["tie_word_embeddings"] = false;
      note("tie_word_embeddings is false in the target, which has a head of its own");
    }
  }

 private:
  void note(std::string text) {
    problems_.push_back(
        {Severity::note, ErrorCode::invalid_config, "config.json", "", std::move(text)});
  }

  void warn(std::string text) {
    problems_.push_back(
        {Severity::warning, ErrorCode::invalid_config, "config.json", "", std::move(text)});
  }

  // Sizes that it lacks or cannot have: loaders would take another model's.
  void set_sizes() {
    for (const SizeKey& key : kSizeKeys) {
      const std::int64_t size = edit_.sizes.*key.field;
      const std::string name(key.hf);
      if (size == 0 || !hf_.value(name, Json()).is_null() || hf_.contains("block_configs"))
        continue;
      hf_[name] = size;
      note("it has no " + name + "; the target has that of the tensors, " + std::to_string(size));
    }
    const std::int64_t experts = edit_.sizes.num_local_experts;
    for (const char* const key : {"num_experts_per_tok", "experts_per_token"}) {
      const Json active = hf_.value(key, Json());
      if (experts == 0 || !active.is_number_integer() || active <= experts) continue;
      hf_[key] = experts;
      warn(std::string(key) + " is " + active.dump() + ", more than the experts; it is " +
           std::to_string(experts) + " in the target");
    }
    set_layer_types();
  }

  void set_layer_types() {
    const auto types = hf_.find("layer_types");
    const auto layers = static_cast<std::size_t>(edit_.sizes.num_hidden_layers);
    if (types == hf_.end() || !types->is_array() || layers == 0 || types->size() == layers) return;
    if (layers > kMostConfigValues / 2) return;
    warn("layer_types is for " + std::to_string(types->size()) + " layers, not " +
         std::to_string(layers) + "; it is cut, or goes on in turn, in the target");
    while (types->size() > layers) types->erase(types->size() - 1);
    while (types->size() < layers) {
      types->push_back(types->size() % 2 == 0 ? "sliding_attention" : "full_attention");
    }
  }

  void set_quantization() {
    constexpr const char* kKey = "quantization_config";
    const QuantizationConfig style = layout_table(edit_.to).quantization;
    const std::string before = named_quantization(hf_);
    hf_.erase("quantization");
    if (!edit_.packed) {
      if (!before.empty()) {
        note("the quantization that it names, " + before + ", is removed: the weights are dense");
      }
      hf_.erase(kKey);
    } else if (!fits(hf_, kKey, style)) {
      hf_[kKey] = quantization_config(style);
    } else if (is_stale(hf_[kKey])) {
      hf_[kKey] = quantization_config(style);
      note("quantization_config said that experts are dense; it is the published one now");
    }
    // mlx-lm reads the one, and writes both for other programs.
    if (edit_.packed && style == QuantizationConfig::mlx) hf_["quantization"] = hf_[kKey];
  }

  // Whether it has loaders take experts for dense, or make them dense.
  static bool is_stale(const Json& quantization) {
    if (quantization.value("dequantize", Json(false)) != false) return true;
    // As Hugging Face and compressed-tensors call the list.
    return std::ranges::any_of(std::array{"modules_to_not_convert", "ignore"}, [&](auto* key) {
      const Json kept = quantization.value(key, Json());
      return kept.is_array() && std::ranges::any_of(kept, [](const Json& module) {
               return module.is_string() &&
                      module.get_ref<const std::string&>().find("experts") != std::string::npos;
             });
    });
  }

  // transformers 5 writes `dtype` where 4 wrote `torch_dtype`, and reads the former first.
  void set_dtype() {
    if (hf_.contains("torch_dtype") && hf_.value("dtype", Json(0)).is_null()) hf_.erase("dtype");
    const bool has_both = hf_.contains("dtype") && hf_.contains("torch_dtype");
    if (edit_.torch_dtype) {
      const bool new_key = hf_.contains("dtype");
      hf_[new_key ? "dtype" : "torch_dtype"] = torch_name(*edit_.torch_dtype);
    }
    if (!has_both || hf_["dtype"] == hf_["torch_dtype"]) return;
    hf_["torch_dtype"] = hf_["dtype"];
    note("torch_dtype was another than dtype; it is the same now");
  }

  // mlx-lm 0.32 computes without YaRN if it finds `rope_parameters` alone, and says nothing.
  void spell_rope_as_before() {
    const auto given = hf_.find("rope_parameters");
    if (given == hf_.end() || !given->is_object()) return;
    const auto old = hf_.find("rope_scaling");
    if (old != hf_.end() && old->is_object() && !old->empty()) return;
    Json scaling = *given;
    const Json theta = scaling.value("rope_theta", Json());
    scaling.erase("rope_theta");
    hf_["rope_scaling"] = std::move(scaling);
    if (!theta.is_null()) hf_["rope_theta"] = theta;
    note("rope_parameters is written as rope_scaling and rope_theta too, which mlx-lm reads");
  }

  // FSDP2 and others rename the class that they wrap: "FSDPGptOssForCausalLM".
  void set_architecture() {
    constexpr std::string_view kModel = "GptOssForCausalLM";
    const auto given = hf_.find("architectures");
    if (given == hf_.end() || !given->is_array() || given->size() != 1) return;
    const Json& first = given->front();
    if (!first.is_string() || first == kModel) return;
    const std::string& name = first.get_ref<const std::string&>();
    const bool is_wrapped = name.find(kModel) != std::string::npos;
    const bool is_backbone_with_head = name.ends_with(kBackboneClass) && edit_.has_head;
    if (!is_wrapped && !is_backbone_with_head) return;
    note("the architecture '" + name + "' is " + std::string(kModel) + " in the target");
    *given = {kModel};
  }

  Json& hf_;
  const ConfigEdit& edit_;
  std::vector<Problem>& problems_;
};

}  // namespace

GptOssConfig parse_config(const std::string& text, const std::filesystem::path& file) {
  return parse_facts(text, file).sizes;
}

ConfigFacts parse_facts(const std::string& text, const std::filesystem::path& file) {
  Json json = parse_config_object(text, file);
  if (const Json* const inner = text_config(json)) {
    const Json taken = *inner;
    json = taken;
  }
  ConfigFacts facts;
  facts.is_there = true;
  for (const SizeKey& key : kSizeKeys) {
    facts.sizes.*key.field = size_value(json, key.hf, file);
    if (facts.sizes.*key.field == 0) facts.sizes.*key.field = size_value(json, key.original, file);
  }
  facts.experts_by_layer = experts_by_layer(json, file);
  facts.ties_head = json.value("tie_word_embeddings", Json(false)) == true;
  const Json architectures = json.value("architectures", Json());
  facts.is_backbone = architectures.is_array() && architectures.size() == 1 &&
                      architectures[0].is_string() &&
                      architectures[0].get_ref<const std::string&>().ends_with(kBackboneClass);
  facts.quantization = named_quantization(json);
  const Json writer = json.value("transformers_version", Json());
  if (writer.is_string()) facts.writer = "transformers " + writer.get<std::string>().substr(0, 40);
  return facts;
}

EditedConfig edit_config(const std::string& text, const std::filesystem::path& file,
                         const ConfigEdit& edit) {
  Json json = parse_config_object(text, file);
  EditedConfig edited;
  if (const Json* const inner = text_config(json)) {
    const Json taken = *inner;
    json = taken;
    if (!json.contains("architectures")) json["architectures"] = {"GptOssForCausalLM"};
    edited.problems.push_back({Severity::note, ErrorCode::invalid_config, "config.json", "",
                               "it is that of a larger model; the target has its text_config"});
  }
  // The config's style need not match the layout of the weights: most layouts share one.
  const bool is_original = json.contains("num_experts") && !json.contains("num_local_experts");
  if (layout_table(edit.to).config == ConfigStyle::original) {
    std::vector<std::string> warnings;
    if (!is_original) {
      for (const SizeKey& key : kSizeKeys) {
        const std::int64_t size = edit.sizes.*key.field;
        const std::string name(key.hf);
        if (size > 0 && json.value(name, Json()).is_null()) json[name] = size;
      }
      json = original_from_hf(json, file, warnings);
    }
    for (std::string& warning : warnings) {
      edited.problems.push_back(
          {Severity::warning, ErrorCode::invalid_config, "config.json", "", std::move(warning)});
    }
  } else {
    if (is_original) json = hf_from_original(json, file);
    Editor(json, edit, edited.problems).run();
  }
  edited.text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  return edited;
}

}  // namespace mxferry::internal
