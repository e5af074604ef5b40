#include "gpt_oss/model_checks.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace mxferry::internal {
namespace {

constexpr int kMostReported = 8;

class CompletenessCheck {
 public:
  CompletenessCheck(const FoundModel& found, ProblemList& problems)
      : found_(found), problems_(problems) {
    for (const auto& [parameter, pieces] : found.parameters) {
      for (const LayoutRow& row : pieces.rows) kinds_.insert(row.kind);
      if (!parameter.layer) continue;
      const std::size_t end = parameter.prefix.rfind("layers.");
      layers_[parameter.prefix.substr(0, end)].insert(*parameter.layer);
      for (const LayoutRow& row : pieces.rows) present_.emplace(*parameter.layer, row.kind);
    }
  }

  void run() {
    check_layers();
    check_kinds_of_layers();
    check_top_level();
  }

 private:
  void check_layers() {
    const std::int64_t count = found_.description.config.num_hidden_layers;
    if (layers_.empty()) {
      problems_.fatal(ErrorCode::missing_layer, "", "there are no tensors of any layer");
    }
    for (const auto& [prefix, layers] : layers_) {
      const std::int64_t last = *layers.rbegin();
      if (found_.config.is_there && count > 0 && last >= count) {
        problems_.fatal(ErrorCode::invalid_config, "",
                        "config.json says " + std::to_string(count) +
                            " layers, but there are tensors of layer " + std::to_string(last));
      }
      report_missing_layers(prefix, layers, std::max(count, last + 1));
    }
  }

  void report_missing_layers(const std::string& prefix, const std::set<std::int64_t>& layers,
                             std::int64_t end) {
    const LayoutTable& table = layout_table(*found_.description.layout);
    const std::string before =
        (table.keeps_prefix ? prefix : "") + std::string(table.layer_component) + ".";
    // A huge layer number must not make this loop long.
    int reported = 0;
    for (std::int64_t layer = 0; layer < end && reported < kMostReported; ++layer) {
      if (layers.contains(layer)) continue;
      ++reported;
      problems_.fatal(ErrorCode::missing_layer, "",
                      "layer " + std::to_string(layer) + " of " + std::to_string(end) +
                          " is missing (" + before + std::to_string(layer) + ".*)");
    }
  }

  void check_kinds_of_layers() {
    for (const KindRow& row : kKindRows) {
      if (row.per_layer && !kinds_.contains(row.kind) && !layers_.empty()) report_missing(row);
    }
    int reported = 0;
    for (const auto& [prefix, layers] : layers_) {
      for (const std::int64_t layer : layers) {
        for (const ParameterKind kind : kinds_) {
          if (!is_per_layer(kind) || present_.contains({layer, kind})) continue;
          if (++reported > kMostReported) return;
          report_missing_in(layer, kind_row(kind));
        }
      }
    }
  }

  void report_missing(const KindRow& row) {
    const std::vector<std::size_t>& unknown = found_.description.unknown;
    const auto strange = std::ranges::find_if(unknown, [&](std::size_t tensor) {
      return row.packable && found_.catalog[tensor].name.find(".mlp.experts.") != std::string::npos;
    });
    const bool has_strange = strange != unknown.end();
    problems_.add(severity_of(row), ErrorCode::missing_tensor,
                  has_strange ? found_.catalog[*strange].name : "",
                  has_strange ? "no layout knows this name, and no layer has the " +
                                    std::string(row.words) + " under a name that one knows"
                              : "no layer has the " + std::string(row.words));
  }

  void report_missing_in(std::int64_t layer, const KindRow& row) {
    // A tensor that is not cut is in the file of a single rank, whichever it is.
    const Severity severity = found_.is_distributed ? Severity::fatal : severity_of(row);
    problems_.add(severity, ErrorCode::missing_tensor, "",
                  "layer " + std::to_string(layer) + " has no " + row.words +
                      ", which other layers have" +
                      (found_.is_distributed ? "; the file of a rank may be missing" : ""));
  }

  static Severity severity_of(const KindRow& row) {
    return row.essential ? Severity::fatal : Severity::warning;
  }

  void check_top_level() {
    for (const KindRow& row : kKindRows) {
      if (row.per_layer || kinds_.contains(row.kind)) continue;
      const std::string text = std::string("the checkpoint has no ") + row.words;
      if (row.kind != ParameterKind::head) {
        problems_.fatal(ErrorCode::missing_tensor, "", text);
      } else if (!found_.config.ties_head) {
        report_missing_head(text);
      }
    }
  }

  void report_missing_head(const std::string& text) {
    if (!found_.config.is_there || found_.config.is_backbone) {
      return problems_.warn(ErrorCode::missing_tensor, "", text);
    }
    problems_.fatal(ErrorCode::missing_tensor, "",
                    text +
                        ", and config.json does not say that the embedding is its head. If it "
                        "is, set \"tie_word_embeddings\": true there");
  }

  const FoundModel& found_;
  ProblemList& problems_;
  std::map<std::string, std::set<std::int64_t>> layers_;  // by the prefix before "layers."
  std::set<std::pair<std::int64_t, ParameterKind>> present_;
  std::set<ParameterKind> kinds_;
};

// A text in a tensor's name that tells what the tensor is.
struct Mark {
  std::string_view text = {};
  bool ends_name = false;      // else it is anywhere in the name
  std::string_view what = {};  // for a quantization: whose
};

// PEFT's tuners (peft/tuners/lora/layer.py), and NeMo AutoModel's.
constexpr std::array<Mark, 9> kAdapterMarks = {{{".lora_A."},
                                                {".modules_to_save."},
                                                {".original_module."},
                                                {".lora_B."},
                                                {".lora_embedding_"},
                                                {".lora_magnitude_vector"},
                                                {".base_layer."},
                                                {".lora_a."},
                                                {".lora_b."}}};

// transformers 5.5.2 to 5.20, save_pretrained() of a dequantized model: a regular expression's end
// stays in the name, without the layer, and only one layer's experts survive.
constexpr std::array<Mark, 2> kLostExpertMarks = {{{"gate_up_proj$", true}, {"down_proj$", true}}};

// bitsandbytes, GPTQ and AWQ, FP8 and NVFP4 of ModelOpt and compressed-tensors, MLX's affine form.
constexpr std::array<Mark, 14> kQuantizationMarks = {
    {{".absmax", true, "bitsandbytes"},
     {".quant_map", true, "bitsandbytes"},
     {".quant_state.", false, "bitsandbytes"},
     {".SCB", true, "bitsandbytes"},
     {".qweight", true, "GPTQ or AWQ"},
     {".qzeros", true, "GPTQ or AWQ"},
     {".g_idx", true, "GPTQ or AWQ"},
     {".weight_scale_inv", true, "FP8"},
     {".weight_scale_2", true, "NVFP4"},
     {".weight_global_scale", true, "NVFP4"},
     {".input_global_scale", true, "NVFP4"},
     {".input_scale", true, "FP8"},
     {".weight_scale", true, "FP8 or FP4"},
     {".biases", true, "MLX's affine quantization"}}};

const Mark* find_mark(std::span<const Mark> marks, std::string_view name) {
  const auto found = std::ranges::find_if(marks, [&](const Mark& mark) {
    return mark.ends_name ? name.ends_with(mark.text)
                          : name.find(mark.text) != std::string_view::npos;
  });
  return found == marks.end() ? nullptr : &*found;
}

void report_quantization(const FoundModel& found, const std::string& tensor, std::string_view what,
                         ProblemList& problems) {
  const std::string& method = found.config.quantization;
  problems.fatal(ErrorCode::foreign_quantization, tensor,
                 "the weights are quantized in a form that is not read: " + std::string(what) +
                     " by the tensors' names" +
                     (method.empty() ? "" : ", '" + method + "' by config.json") +
                     ". Dequantize them with the program that wrote them, or begin from the "
                     "checkpoint before");
}

}  // namespace

void check_completeness(const FoundModel& found, ProblemList& problems) {
  CompletenessCheck(found, problems).run();
}

void check_unknown_names(const FoundModel& found, ProblemList& problems) {
  bool has_adapter = false;
  bool has_lost_experts = false;
  bool is_quantized = false;
  for (const std::size_t index : found.description.unknown) {
    const std::string& name = found.catalog[index].name;
    if (!has_adapter && find_mark(kAdapterMarks, name) != nullptr) {
      has_adapter = true;
      problems.fatal(ErrorCode::lora_adapter, name,
                     "an adapter that is not merged is among the weights. Merge it first, with "
                     "PEFT's merge_and_unload(), and save the merged model");
    } else if (!has_lost_experts && find_mark(kLostExpertMarks, name) != nullptr) {
      has_lost_experts = true;
      problems.fatal(ErrorCode::missing_tensor, name,
                     "transformers 5.5.2 to 5.20 saved this model and lost the experts of all "
                     "layers but one: the names of all layers' were the same. They are not in the "
                     "files. Save it again from the running model with "
                     "save_pretrained(..., save_original_format=False) or "
                     "mxferry.save_checkpoint()");
    } else if (const Mark* mark = find_mark(kQuantizationMarks, name); mark && !is_quantized) {
      is_quantized = true;
      report_quantization(found, name, mark->what, problems);
    }
  }
}

}  // namespace mxferry::internal
