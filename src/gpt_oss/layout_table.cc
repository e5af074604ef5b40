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

// NeMo AutoModel's model differs from hf in these rows; its experts are never packed.
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

// pytorch/torchtitan b5bcd76, models/gpt_oss: never packed, not transposed.
constexpr std::array<LayoutRow, kParameterKinds> kTorchtitan = {{
    {attention_norm, "attention_norm.weight", "", "", AxisOrder::out_in},
    {query_weight, "attention.qkv_linear.wq.weight", "", "", AxisOrder::out_in},
    {query_bias, "attention.qkv_linear.wq.bias", "", "", AxisOrder::out_in},
    {key_weight, "attention.qkv_linear.wk.weight", "", "", AxisOrder::out_in},
    {key_bias, "attention.qkv_linear.wk.bias", "", "", AxisOrder::out_in},
    {value_weight, "attention.qkv_linear.wv.weight", "", "", AxisOrder::out_in},
    {value_bias, "attention.qkv_linear.wv.bias", "", "", AxisOrder::out_in},
    {output_weight, "attention.wo.weight", "", "", AxisOrder::out_in},
    {output_bias, "attention.wo.bias", "", "", AxisOrder::out_in},
    {sinks, "attention.sinks", "", "", AxisOrder::out_in},
    {mlp_norm, "ffn_norm.weight", "", "", AxisOrder::out_in},
    {router_weight, "moe.router.gate.weight", "", "", AxisOrder::out_in},
    {router_bias, "moe.router.gate.bias", "", "", AxisOrder::out_in},
    {gate_up_weight, "moe.routed_experts.inner_experts.mlp1_weight_EGD", "", "", AxisOrder::out_in},
    {gate_up_bias, "moe.routed_experts.inner_experts.mlp1_bias_EG", "", "", AxisOrder::out_in},
    {down_weight, "moe.routed_experts.inner_experts.mlp2_weight_EDF", "", "", AxisOrder::out_in},
    {down_bias, "moe.routed_experts.inner_experts.mlp2_bias_ED", "", "", AxisOrder::out_in},
    {embedding, "tok_embeddings.weight", "", "", AxisOrder::out_in},
    {final_norm, "norm.weight", "", "", AxisOrder::out_in},
    {head, "lm_head.weight", "", "", AxisOrder::out_in},
}};

// unsloth's 16-bit models (unsloth-zoo ce232d6, temporary_patches/gpt_oss.py): one tensor per
// expert, with alternating rows of gate and up.
constexpr std::array<LayoutRow, kParameterKinds> unsloth_rows() {
  std::array<LayoutRow, kParameterKinds> rows = kHf;
  for (LayoutRow& row : rows) {
    row.blocks_ending = row.scales_ending = "";
    row.order = AxisOrder::out_in;
    if (row.kind == router_weight) row.suffix = "mlp.router.linear.weight";
    if (row.kind == router_bias) row.suffix = "mlp.router.linear.bias";
    if (row.kind == gate_up_weight) row.suffix = "mlp.experts.gate_up_projs.{E}.weight";
    if (row.kind == gate_up_bias) row.suffix = "mlp.experts.gate_up_projs.{E}.bias";
    if (row.kind == down_weight) row.suffix = "mlp.experts.down_projs.{E}.weight";
    if (row.kind == down_bias) row.suffix = "mlp.experts.down_projs.{E}.bias";
  }
  return rows;
}
constexpr std::array<LayoutRow, kParameterKinds> kUnsloth = unsloth_rows();

// MLX's own names (ml-explore/mlx-lm 0.32, models/gpt_oss.py after sanitize): gate and up apart,
// the blocks of a row as 32-bit words.
constexpr std::array<LayoutRow, kParameterKinds> mlx_rows() {
  std::array<LayoutRow, kParameterKinds> rows = kHf;
  for (LayoutRow& row : rows) {
    if (row.kind == gate_up_bias) row.suffix = "mlp.experts.{gate|up}_proj.bias";
    if (row.kind == down_bias) row.suffix = "mlp.experts.down_proj.bias";
    if (!is_expert_weight(row.kind)) continue;
    row.suffix = row.kind == down_weight ? "mlp.experts.down_proj" : "mlp.experts.{gate|up}_proj";
    row.dense_ending = ".weight";
    row.blocks_ending = ".weight (U32)";
    row.scales_ending = ".scales";
    row.order = AxisOrder::out_in;
  }
  return rows;
}
constexpr std::array<LayoutRow, kParameterKinds> kMlx = mlx_rows();

// One tensor per expert, gate and up apart: compressed-tensors 0.20 (format mxfp4-pack-quantized),
// and as read_*, AMD Quark's names.
constexpr std::array<LayoutRow, kParameterKinds> compressed_tensors_rows() {
  std::array<LayoutRow, kParameterKinds> rows = kHf;
  for (LayoutRow& row : rows) {
    if (row.kind == gate_up_bias) row.suffix = "mlp.experts.{E}.{gate|up}_proj.bias";
    if (row.kind == down_bias) row.suffix = "mlp.experts.{E}.down_proj.bias";
    if (!is_expert_weight(row.kind)) continue;
    row.suffix =
        row.kind == down_weight ? "mlp.experts.{E}.down_proj" : "mlp.experts.{E}.{gate|up}_proj";
    row.dense_ending = ".weight";
    row.blocks_ending = ".weight_packed (U8)";
    row.scales_ending = ".weight_scale";
    row.read_blocks_ending = ".weight (U8)";
    row.read_scales_ending = ".weight_quantizer.scale";
    row.order = AxisOrder::out_in;
  }
  return rows;
}
constexpr std::array<LayoutRow, kParameterKinds> kCompressedTensors = compressed_tensors_rows();

constexpr std::array<LayoutTable, 7> kLayouts = {{
    {.layout = Layout::hf,
     .name = "hf",
     .rows = kHf,
     .te_rows = kHf,
     .layer_component = "layers",
     .renamed_fit_anywhere = true,
     .dense_programs = "transformers, vLLM, llama.cpp's converter",
     .packed_programs = "transformers, vLLM, mlx-lm, llama.cpp's converter",
     .ties_head = true,
     .example = "model.layers.0.mlp.experts.gate_up_proj_blocks"},
    {.layout = Layout::nemo,
     .name = "nemo",
     .rows = kNemo,
     .te_rows = kNemoTe,
     .layer_component = "layers",
     .renamed_fit_anywhere = true,
     .dense_programs = "NeMo AutoModel",
     .example = "model.layers.0.mlp.experts.gate_and_up_projs"},
    {.layout = Layout::original,
     .name = "original",
     .rows = kOriginal,
     .te_rows = kOriginal,
     .layer_component = "block",
     .keeps_prefix = false,
     .config = ConfigStyle::original,
     .packed_programs = "OpenAI's own code",
     .has_dtypes_json = true,
     .has_rank_files = false,
     .samples_one_file = true,
     .example = "block.0.mlp.mlp1_weight.blocks"},
    {.layout = Layout::torchtitan,
     .name = "torchtitan",
     .rows = kTorchtitan,
     .te_rows = kTorchtitan,
     .layer_component = "layers",
     .keeps_prefix = false,
     .dense_programs = "torchtitan",
     .example = "layers.0.moe.routed_experts.inner_experts.mlp1_weight_EGD"},
    {.layout = Layout::unsloth,
     .name = "unsloth",
     .rows = kUnsloth,
     .te_rows = kUnsloth,
     .layer_component = "layers",
     .dense_programs = "unsloth",
     .ties_head = true,
     .has_rank_files = false,
     .example = "model.layers.0.mlp.experts.gate_up_projs.0.weight"},
    {.layout = Layout::mlx,
     .name = "mlx",
     .rows = kMlx,
     .te_rows = kMlx,
     .layer_component = "layers",
     .quantization = QuantizationConfig::mlx,
     .dense_programs = "mlx-lm",
     .packed_programs = "mlx-lm",
     .reads_rope_scaling = true,
     .has_rank_files = false,
     .example = "model.layers.0.mlp.experts.gate_proj.weight"},
    {.layout = Layout::compressed_tensors,
     .name = "compressed-tensors",
     .rows = kCompressedTensors,
     .te_rows = kCompressedTensors,
     .layer_component = "layers",
     .quantization = QuantizationConfig::compressed_tensors,
     .dense_programs = "compressed-tensors",
     .packed_programs = "compressed-tensors",
     .ties_head = true,
     .has_rank_files = false,
     .example = "model.layers.0.mlp.experts.0.gate_proj.weight_packed"},
}};

// What follows the suffix; nullopt if the row has no such piece.
std::optional<std::string_view> ending(const LayoutRow& row, Piece piece) {
  if (piece == Piece::dense) return row.dense_ending;
  const std::string_view text = piece == Piece::blocks ? row.blocks_ending : row.scales_ending;
  return text.empty() ? std::nullopt : std::optional(text);
}

bool is_renamed_by_adapter(const LayoutRow& row, std::string_view attn) {
  const std::string_view hf = layout_row(Layout::hf, attn, row.kind).suffix;
  const std::string_view nemo = layout_row(Layout::nemo, attn, row.kind).suffix;
  return hf != nemo && (row.suffix == hf || row.suffix == nemo);
}

std::string fixed_prefix(const LayoutTable& table, std::optional<std::int64_t> layer) {
  if (!layer) return "";
  return std::string(table.layer_component) + "." + std::to_string(*layer) + ".";
}

// Whether a prefix may stand before a row of the layout, and the layer that it names.
bool accept_prefix(const LayoutTable& table, std::string_view attn, const LayoutRow& row,
                   NameMatch& match) {
  match.layer = layer_number(match.prefix, table.layer_component);
  if (!table.keeps_prefix) {
    if (is_per_layer(row.kind) != match.layer.has_value()) return false;
    if (match.prefix != fixed_prefix(table, match.layer)) return false;
    match.prefix = published_prefix(row.kind, match.layer);
    return true;
  }
  if (table.renamed_fit_anywhere && is_renamed_by_adapter(row, attn)) return true;
  if (is_per_layer(row.kind)) return match.layer.has_value();
  const bool anchored = match.prefix.empty() || match.prefix.ends_with('.');
  return anchored && match.prefix.find("layers.") == std::string::npos;
}

}  // namespace

std::optional<std::int64_t> parse_index(std::string_view digits) {
  // "007" is a different name from "7", and a sign is not a digit. No model has a million layers or
  // experts.
  constexpr std::size_t kMostDigits = 6;
  const bool canonical = !digits.empty() && digits.size() <= kMostDigits &&
                         digits.find_first_not_of("0123456789") == std::string_view::npos &&
                         (digits[0] != '0' || digits == "0");
  if (!canonical) return std::nullopt;
  std::int64_t index = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), index);
  return index;
}

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
  return parse_index(digits);
}

std::vector<Spelling> spellings(const LayoutRow& row) {
  const std::string suffix(row.suffix);
  const auto with = [&](std::string_view last) { return suffix + std::string(last); };
  std::vector<Spelling> all = {{with(row.dense_ending), with(row.dense_ending)}};
  for (const auto& [read, written] : {std::pair(row.blocks_ending, row.blocks_ending),
                                      std::pair(row.scales_ending, row.scales_ending),
                                      std::pair(row.read_blocks_ending, row.blocks_ending),
                                      std::pair(row.read_scales_ending, row.scales_ending)}) {
    if (!read.empty()) all.push_back({with(read), with(written)});
  }
  return all;
}

std::span<const LayoutTable> layout_tables() {
  return kLayouts;
}

const LayoutTable& layout_table(Layout layout) {
  return kLayouts[static_cast<std::size_t>(layout)];
}

std::span<const LayoutRow> layout_rows(Layout layout, std::string_view attn) {
  const LayoutTable& table = layout_table(layout);
  return attn == "te" ? table.te_rows : table.rows;
}

bool can_pack(Layout layout) {
  return std::ranges::any_of(layout_table(layout).rows,
                             [](const LayoutRow& row) { return !row.blocks_ending.empty(); });
}

const LayoutRow& layout_row(Layout layout, std::string_view attn, ParameterKind kind) {
  return *std::ranges::find(layout_rows(layout, attn), kind, &LayoutRow::kind);
}

std::optional<NameMatch> match_name(Layout layout, std::string_view attn, std::string_view name) {
  const std::span<const LayoutRow> rows = layout_rows(layout, attn);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const LayoutRow& row = rows[i];
    for (const Piece piece : {Piece::dense, Piece::blocks, Piece::scales}) {
      const std::optional<std::string_view> last = ending(row, piece);
      std::string_view rest = name;
      if (!last || !rest.ends_with(*last)) continue;
      rest.remove_suffix(last->size());
      if (!rest.ends_with(row.suffix)) continue;
      rest.remove_suffix(row.suffix.size());
      NameMatch match{piece, rows.subspan(i, 1), std::nullopt, std::string(rest)};
      if (!accept_prefix(layout_table(layout), attn, row, match)) continue;
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
  const LayoutTable& table = layout_table(layout);
  std::string name = parameter.prefix;
  if (!table.keeps_prefix) {
    if (is_per_layer(parameter.kind) && !parameter.layer) return std::nullopt;
    name = fixed_prefix(table, parameter.layer);
  }
  name += row.suffix;
  name += ending(row, piece).value_or("");
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
