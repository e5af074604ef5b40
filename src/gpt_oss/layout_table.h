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
  // The end of the tensor's name, perhaps with fields (name_template.h). In `original` three rows
  // share one suffix: the fused tensor holds the rows of query, key and value, in the order of the
  // table.
  std::string_view suffix;
  // Appended to the suffix for packed experts; empty if the layout never packs this kind.
  std::string_view blocks_ending;
  std::string_view scales_ending;
  // Of a dense expert weight, as the layout defines it.
  AxisOrder order = AxisOrder::out_in;
  // Appended to the suffix of anything that is not packed.
  std::string_view dense_ending = {};
  // What other programs append instead; read, never written.
  std::string_view read_blocks_ending = {};
  std::string_view read_scales_ending = {};
};

// A name, or a template of names, that is read, and the one that is written in its place.
struct Spelling {
  std::string read;
  std::string written;
};
std::vector<Spelling> spellings(const LayoutRow& row);

// Whose keys config.json uses.
enum class ConfigStyle { hf, original };

// How config.json tells that the experts are MXFP4.
enum class QuantizationConfig { mxfp4, mlx, compressed_tensors };

// One layout. A new one is a row of the table in layout_table.cc, an enumerator of Layout, and a
// fixture.
struct LayoutTable {
  Layout layout = Layout::hf;
  std::string_view name;  // on the command line
  std::span<const LayoutRow> rows;
  std::span<const LayoutRow> te_rows;  // for BackendConfig::attn "te"; else the same rows
  std::string_view layer_component;    // precedes the number of a layer: "layers" or "block"
  // Whether names may have any prefix, which a conversion keeps, as in "model.layers.0."; otherwise
  // a name begins with the component or, at the top level, with its suffix.
  bool keeps_prefix = true;
  // Whether the suffixes that hf and nemo spell differently fit wherever they end a name.
  bool renamed_fit_anywhere = false;
  ConfigStyle config = ConfigStyle::hf;
  QuantizationConfig quantization = QuantizationConfig::mxfp4;
  // Programs that load the layout, dense and packed, for people.
  std::string_view dense_programs = {};
  std::string_view packed_programs = {};
  // Whether its programs know the position embedding only as transformers 4 wrote it.
  bool reads_rope_scaling = false;
  bool ties_head = false;  // its programs take the embedding for the head if config.json says so
  bool has_dtypes_json = false;
  bool has_rank_files = true;     // can be written as the files of PyTorch's ranks
  bool samples_one_file = false;  // published as one file
  std::string_view example;       // a name that only this layout has, for messages
};

// The number N of a prefix that ends in COMPONENT.N., COMPONENT at the start or after a dot.
std::optional<std::int64_t> layer_number(std::string_view prefix, std::string_view component);

// The number of a layer or an expert in a name: no sign, no leading zeros, at most six digits.
std::optional<std::int64_t> parse_index(std::string_view digits);

// By Layout.
std::span<const LayoutTable> layout_tables();
const LayoutTable& layout_table(Layout layout);

// The rows in matching order. `attn` is BackendConfig::attn; only `nemo` uses it.
std::span<const LayoutRow> layout_rows(Layout layout, std::string_view attn);

// Whether the layout has an MXFP4 form.
bool can_pack(Layout layout);

enum class Piece { dense, blocks, scales };

// A parsed tensor name. `rows` has more than one element for a fused tensor.
struct NameMatch {
  Piece piece = Piece::dense;
  std::span<const LayoutRow> rows;
  std::optional<std::int64_t> layer;
  std::string prefix;

  Parameter parameter(const LayoutRow& row) const { return {row.kind, layer, prefix}; }
};

// Parses a name; nullopt if the layout does not know it. Rows are tried in order, and the first
// suffix that fits wins. In hf and nemo, the suffixes that the two spell differently fit
// unanchored, wherever they end a name, because that is the rule of NeMo AutoModel's adapter
// (Automodel 36044ad3, gpt_oss/state_dict_adapter.py). All others must follow "layers.N." or, at
// the top level, stand at the start or after a dot. Without `keeps_prefix`, the layer or nothing
// precedes a suffix.
std::optional<NameMatch> match_name(Layout layout, std::string_view attn, std::string_view name);

// The tensor's name; nullopt if the layout cannot name the parameter: without `keeps_prefix` it
// needs a layer number.
std::optional<std::string> tensor_name(Layout layout, std::string_view attn,
                                       const Parameter& parameter, Piece piece);

const LayoutRow& layout_row(Layout layout, std::string_view attn, ParameterKind kind);

// The suffixes that differ between hf and nemo, {hf, nemo}, in matching order: NeMo's
// `hf_to_internal_map`.
std::vector<std::pair<std::string, std::string>> renamed_suffixes(std::string_view attn);

}  // namespace mxferry::internal
