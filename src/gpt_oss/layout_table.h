#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpt_oss/parameter.h"
#include "mxferry/config.h"
#include "mxferry/layout.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// How one layout stores one kind of parameter.
struct LayoutRow {
  ParameterKind kind = ParameterKind::embedding;
  // The end of the tensor's name. In `original` three rows share one suffix: the rows of the fused
  // tensor are those of query, key and value, in the order of the table.
  std::string_view suffix;
  // Appended to the suffix where experts are packed; empty where the layout never packs this kind.
  std::string_view blocks_ending;
  std::string_view scales_ending;
  // Of a dense expert weight as the layout defines it.
  AxisOrder order = AxisOrder::out_in;
};

// The rows in matching order. `attn` is BackendConfig::attn and matters to `nemo` alone.
std::span<const LayoutRow> layout_rows(Layout layout, std::string_view attn);

enum class Piece { dense, blocks, scales };

// A tensor name taken apart. `rows` has more than one element for a fused tensor.
struct NameMatch {
  Piece piece = Piece::dense;
  std::span<const LayoutRow> rows;
  std::optional<std::int64_t> layer;
  std::string prefix;

  Parameter parameter(const LayoutRow& row) const { return {row.kind, layer, prefix}; }
};

// What the layout takes the name to mean; nullopt for a name that it does not know. Rows are tried
// in order, the first suffix that fits wins. The suffixes that hf and nemo spell differently fit
// unanchored, wherever they end a name, because that is the rule of NeMo AutoModel's adapter
// (Automodel 36044ad3, gpt_oss/state_dict_adapter.py); all others must follow "layers.N." or, at
// the top level, stand at the start or after a dot.
std::optional<NameMatch> match_name(Layout layout, std::string_view attn, std::string_view name);

// The tensor's name; nullopt where the layout cannot name the parameter: `original` needs a layer
// number.
std::optional<std::string> tensor_name(Layout layout, std::string_view attn,
                                       const Parameter& parameter, Piece piece);

const LayoutRow& layout_row(Layout layout, std::string_view attn, ParameterKind kind);

// The suffixes that differ between hf and nemo, {hf, nemo}, in matching order: NeMo's
// `hf_to_internal_map`.
std::vector<std::pair<std::string, std::string>> renamed_suffixes(std::string_view attn);

}  // namespace mxferry::internal
