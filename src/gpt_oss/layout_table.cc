#include "gpt_oss/layout_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>

namespace mxferry::internal {
namespace {

using enum ParameterKind;

constexpr std::string_view kTeSinks = "self_attn.attn_module.softmax_offset";

// transformers, GptOssForCausalLM: openai/gpt-oss-20b's published names, and save_pretrained's for
// dense experts.
constexpr std::array<LayoutRow, kParameterKinds> kHf = {{
    {router_weight, "mlp.router.weight", "", "", AxisOrder::out_in},
    {router_bias, "mlp.router.bias", "", "", AxisOrder::out_in},
    {gate_up_weight, "mlp.experts.gate_up_proj", "_blocks", "_scales", AxisOrder::in_out},
    {down_weight, "mlp.experts.down_proj", "_blocks", "_scales", AxisOrder::in_out},
    {sinks, "self_attn.sinks", "", "", AxisOrder::out_in},
    {attention_norm, "input_layernorm.weight", "", "", AxisOrder::out_in},
    {query_weight, "self_attn.q_proj.weight", "", "", AxisOrder::out_in},
    {query_bias, "self_attn.q_proj.bias", "", "", AxisOrder::out_in},
    {key_weight, "self_attn.k_proj.weight", "", "", AxisOrder::out_in},
    {key_bias, "self_attn.k_proj.bias", "", "", AxisOrder::out_in},
    {value_weight, "self_attn.v_proj.weight", "", "", AxisOrder::out_in},
    {value_bias, "self_attn.v_proj.bias", "", "", AxisOrder::out_in},
    {output_weight, "self_attn.o_proj.weight", "", "", AxisOrder::out_in},
    {output_bias, "self_attn.o_proj.bias", "", "", AxisOrder::out_in},
    {mlp_norm, "post_attention_layernorm.weight", "", "", AxisOrder::out_in},
    {gate_up_bias, "mlp.experts.gate_up_proj_bias", "", "", AxisOrder::out_in},
    {down_bias, "mlp.experts.down_proj_bias", "", "", AxisOrder::out_in},
    {embedding, "embed_tokens.weight", "", "", AxisOrder::out_in},
    {final_norm, "norm.weight", "", "", AxisOrder::out_in},
    {head, "lm_head.weight", "", "", AxisOrder::out_in},
}};

// NeMo AutoModel's model differs from hf in these; its experts are never packed.
constexpr std::array<LayoutRow, kParameterKinds> nemo_rows(bool te) {
  std::array<LayoutRow, kParameterKinds> rows = kHf;
  for (LayoutRow& row : rows) {
    row.blocks_ending = row.scales_ending = "";
    if (row.kind == router_weight) row.suffix = "mlp.gate.weight";
    if (row.kind == router_bias) row.suffix = "mlp.gate.bias";
    if (row.kind == gate_up_weight) row.suffix = "mlp.experts.gate_and_up_projs";
    if (row.kind == down_weight) row.suffix = "mlp.experts.down_projs";
    if (row.kind == sinks && te) row.suffix = kTeSinks;
  }
  return rows;
}
constexpr std::array<LayoutRow, kParameterKinds> kNemo = nemo_rows(false);
constexpr std::array<LayoutRow, kParameterKinds> kNemoTe = nemo_rows(true);

// OpenAI's release, gpt_oss/torch/weights.py and model.py.
constexpr std::array<LayoutRow, kParameterKinds> kOriginal = {{
    {attention_norm, "attn.norm.scale", "", "", AxisOrder::out_in},
    {query_weight, "attn.qkv.weight", "", "", AxisOrder::out_in},
    {key_weight, "attn.qkv.weight", "", "", AxisOrder::out_in},
    {value_weight, "attn.qkv.weight", "", "", AxisOrder::out_in},
    {query_bias, "attn.qkv.bias", "", "", AxisOrder::out_in},
    {key_bias, "attn.qkv.bias", "", "", AxisOrder::out_in},
    {value_bias, "attn.qkv.bias", "", "", AxisOrder::out_in},
    {sinks, "attn.sinks", "", "", AxisOrder::out_in},
    {output_weight, "attn.out.weight", "", "", AxisOrder::out_in},
    {output_bias, "attn.out.bias", "", "", AxisOrder::out_in},
    {mlp_norm, "mlp.norm.scale", "", "", AxisOrder::out_in},
    {router_weight, "mlp.gate.weight", "", "", AxisOrder::out_in},
    {router_bias, "mlp.gate.bias", "", "", AxisOrder::out_in},
    {gate_up_weight, "mlp.mlp1_weight", ".blocks", ".scales", AxisOrder::out_in},
    {gate_up_bias, "mlp.mlp1_bias", "", "", AxisOrder::out_in},
    {down_weight, "mlp.mlp2_weight", ".blocks", ".scales", AxisOrder::out_in},
    {down_bias, "mlp.mlp2_bias", "", "", AxisOrder::out_in},
    {embedding, "embedding.weight", "", "", AxisOrder::out_in},
    {final_norm, "norm.scale", "", "", AxisOrder::out_in},
    {head, "unembedding.weight", "", "", AxisOrder::out_in},
}};

// The number N of a prefix that ends in COMPONENT.N., COMPONENT at the start or after a dot.
std::optional<std::int64_t> layer_number(std::string_view prefix, std::string_view component) {
  if (!prefix.ends_with('.')) return std::nullopt;
  prefix.remove_suffix(1);
  const std::size_t dot = prefix.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view digits = prefix.substr(dot + 1);
  std::string_view before = prefix.substr(0, dot);
  if (!before.ends_with(component)) return std::nullopt;
  before.remove_suffix(component.size());
  if (!before.empty() && !before.ends_with('.')) return std::nullopt;
  // "007" is another name than "7", and a sign is none. No model has a million layers.
  constexpr std::size_t kMostDigits = 6;
  const bool canonical = !digits.empty() && digits.size() <= kMostDigits &&
                         digits.find_first_not_of("0123456789") == std::string_view::npos &&
                         (digits[0] != '0' || digits == "0");
  if (!canonical) return std::nullopt;
  std::int64_t layer = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  return layer;
}

bool is_renamed_by_adapter(ParameterKind kind, std::string_view attn) {
  return layout_row(Layout::hf, attn, kind).suffix != layout_row(Layout::nemo, attn, kind).suffix;
}

// Whether a prefix may stand before a row of the layout, and the layer that it names.
bool accept_prefix(Layout layout, std::string_view attn, const LayoutRow& row, NameMatch& match) {
  const std::string_view component = layout == Layout::original ? "block" : "layers";
  match.layer = layer_number(match.prefix, component);
  if (layout == Layout::original) {
    if (is_per_layer(row.kind) != match.layer.has_value()) return false;
    const std::string expected = match.layer ? "block." + std::to_string(*match.layer) + "." : "";
    if (match.prefix != expected) return false;
    match.prefix = published_prefix(row.kind, match.layer);
    return true;
  }
  if (is_renamed_by_adapter(row.kind, attn)) return true;
  if (is_per_layer(row.kind)) return match.layer.has_value();
  const bool anchored = match.prefix.empty() || match.prefix.ends_with('.');
  return anchored && match.prefix.find("layers.") == std::string::npos;
}

}  // namespace

std::span<const LayoutRow> layout_rows(Layout layout, std::string_view attn) {
  switch (layout) {
    case Layout::hf:
      return kHf;
    case Layout::nemo:
      return attn == "te" ? kNemoTe : kNemo;
    case Layout::original:
      return kOriginal;
  }
  return {};
}

const LayoutRow& layout_row(Layout layout, std::string_view attn, ParameterKind kind) {
  return *std::ranges::find(layout_rows(layout, attn), kind, &LayoutRow::kind);
}

std::optional<NameMatch> match_name(Layout layout, std::string_view attn, std::string_view name) {
  const std::span<const LayoutRow> rows = layout_rows(layout, attn);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const LayoutRow& row = rows[i];
    for (const Piece piece : {Piece::dense, Piece::blocks, Piece::scales}) {
      const std::string_view ending = piece == Piece::blocks   ? row.blocks_ending
                                      : piece == Piece::scales ? row.scales_ending
                                                               : std::string_view();
      if (piece != Piece::dense && ending.empty()) continue;
      std::string_view rest = name;
      if (!rest.ends_with(ending)) continue;
      rest.remove_suffix(ending.size());
      if (!rest.ends_with(row.suffix)) continue;
      rest.remove_suffix(row.suffix.size());
      NameMatch match{piece, rows.subspan(i, 1), std::nullopt, std::string(rest)};
      if (!accept_prefix(layout, attn, row, match)) continue;
      std::size_t end = i + 1;
      while (end < rows.size() && rows[end].suffix == row.suffix) ++end;
      match.rows = rows.subspan(i, end - i);
      return match;
    }
  }
  return std::nullopt;
}

std::optional<std::string> tensor_name(Layout layout, std::string_view attn,
                                       const Parameter& parameter, Piece piece) {
  const LayoutRow& row = layout_row(layout, attn, parameter.kind);
  std::string name = parameter.prefix;
  if (layout == Layout::original) {
    if (is_per_layer(parameter.kind) && !parameter.layer) return std::nullopt;
    name = parameter.layer ? "block." + std::to_string(*parameter.layer) + "." : "";
  }
  name += row.suffix;
  if (piece == Piece::blocks) name += row.blocks_ending;
  if (piece == Piece::scales) name += row.scales_ending;
  return name;
}

std::vector<std::pair<std::string, std::string>> renamed_suffixes(std::string_view attn) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const LayoutRow& row : layout_rows(Layout::hf, attn)) {
    const std::string_view nemo = layout_row(Layout::nemo, attn, row.kind).suffix;
    if (nemo != row.suffix) pairs.emplace_back(row.suffix, nemo);
  }
  return pairs;
}

}  // namespace mxferry::internal
