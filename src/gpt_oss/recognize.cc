#include "gpt_oss/recognize.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "gpt_oss/name_template.h"

namespace mxferry::internal {
namespace {

// The layouts that know the tensor. One that finds a layer number in it takes precedence:
// "block.N.mlp.gate.weight" also ends like a nemo name.
std::set<Layout> layouts_of(const StoredTensor& tensor) {
  std::set<Layout> with_layer;
  std::set<Layout> without;
  for (const LayoutTable& table : layout_tables()) {
    const auto match = match_tensor(table.layout, "flex", tensor);
    if (match) (match->layer ? with_layer : without).insert(table.layout);
  }
  return with_layer.empty() ? without : with_layer;
}

// Whether two layouts differ in the experts alone.
bool are_alike(Layout a, Layout b) {
  return std::ranges::all_of(layout_table(a).rows, [&](const LayoutRow& row) {
    return is_expert_parameter(row.kind) || row.suffix == layout_row(b, "flex", row.kind).suffix;
  });
}

// For a checkpoint without experts: the first of the layouts that know all names of any layout, if
// these layouts are alike.
std::optional<Layout> layout_but_for_experts(const Catalog& catalog) {
  std::optional<std::set<Layout>> common;
  for (const StoredTensor& tensor : catalog) {
    const std::set<Layout> layouts = layouts_of(tensor);
    if (layouts.empty()) continue;
    if (!common) common = layouts;
    std::erase_if(*common, [&](Layout layout) { return !layouts.contains(layout); });
  }
  if (!common || common->empty()) return std::nullopt;
  const Layout first = *common->begin();
  const bool alike =
      std::ranges::all_of(*common, [&](Layout other) { return are_alike(first, other); });
  return alike ? std::optional(first) : std::nullopt;
}

std::string examples() {
  std::string text;
  const std::size_t count = layout_tables().size();
  for (std::size_t i = 0; i < count; ++i) {
    const LayoutTable& table = layout_tables()[i];
    text += i == 0 ? "" : i + 1 < count ? ", " : " or ";
    text += "'" + std::string(table.example) + "' (" + std::string(table.name) + ")";
  }
  return text;
}

}  // namespace

std::optional<NameMatch> match_tensor(Layout layout, std::string_view attn,
                                      const StoredTensor& tensor) {
  if (tensor.stacked == 0 && has_fields(tensor.name)) return std::nullopt;
  auto match = match_name(layout, attn, tensor.name);
  if (!match) return match;
  const ParameterKind kind = match->rows[0].kind;
  const bool has_place = match->layer.has_value() == is_per_layer(kind);
  const bool is_other = has_place && match->prefix != published_prefix(kind, match->layer);
  return is_other ? std::nullopt : match;
}

Recognition recognize(const Catalog& catalog) {
  std::map<Layout, std::string> witness;
  for (const StoredTensor& tensor : catalog) {
    const std::set<Layout> layouts = layouts_of(tensor);
    if (layouts.size() == 1) {
      witness.try_emplace(*layouts.begin(),
                          tensor.stacked > 0 ? member_name({tensor.name}) : tensor.name);
    }
  }
  if (witness.size() == 1) {
    const auto& [layout, name] = *witness.begin();
    return {layout, "names such as '" + name + "'"};
  }
  if (witness.empty()) {
    if (const auto layout = layout_but_for_experts(catalog)) {
      return {layout, "the names of all but the experts"};
    }
    return {std::nullopt,
            "no tensor has a name that gpt-oss checkpoints have; expected names such as " +
                examples() +
                (catalog.empty() ? std::string() : ", found '" + catalog[0].name + "'")};
  }
  const auto& [a, name_a] = *witness.begin();
  const auto& [b, name_b] = *std::next(witness.begin());
  return {std::nullopt, "the names are of two layouts: '" + name_a + "' is " +
                            std::string(name(a)) + ", '" + name_b + "' is " + std::string(name(b)) +
                            "; keep the files of one of them"};
}

}  // namespace mxferry::internal
