#include "gpt_oss/restore_names.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "gpt_oss/layout_table.h"
#include "gpt_oss/name_template.h"
#include "mxferry/error.h"
#include "mxferry/names.h"

namespace mxferry::internal {
namespace {

// Components of names, with the dot that follows.
constexpr std::array<std::string_view, 4> kAnywhere = {"_orig_mod.", "_checkpoint_wrapped_module.",
                                                       "_fsdp_wrapped_module.", "module."};
constexpr std::string_view kPeft = "base_model.model.";
constexpr std::string_view kBackbone = "model.";

// Removes a component wherever it stands; returns whether it did.
bool remove_component(std::string& name, std::string_view component) {
  bool removed = false;
  for (std::size_t at = name.find(component); at != std::string::npos;
       at = name.find(component, at)) {
    if (at > 0 && name[at - 1] != '.') {
      at += component.size();
      continue;
    }
    name.erase(at, component.size());
    removed = true;
  }
  return removed;
}

std::string unwrapped(std::string name) {
  for (const std::string_view component : kAnywhere) remove_component(name, component);
  while (name.starts_with(kPeft)) name.erase(0, kPeft.size());
  return name;
}

// A name before its layer's number, and after it.
struct LayerName {
  std::string trunk;  // "model." in a published name
  std::string_view component;
  std::int64_t layer = 0;
  std::string rest;  // without the number
};

// nullopt if no layout's layer component is followed by a number.
std::optional<LayerName> split_at_layer(const std::string& name) {
  for (const LayoutTable& table : layout_tables()) {
    const std::string_view component = table.layer_component;
    const std::string text = std::string(component) + ".";
    const std::size_t at = name.rfind(text);
    if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) continue;
    const std::size_t digits = at + text.size();
    const std::size_t dot = name.find('.', digits);
    if (dot == std::string::npos) continue;
    const auto layer = parse_index(std::string_view(name).substr(digits, dot - digits));
    if (layer) return LayerName{name.substr(0, at), component, *layer, name.substr(dot + 1)};
  }
  return std::nullopt;
}

// The ending of packed weights that were saved twice, and what it should be.
std::string without_doubled_ending(std::string rest) {
  for (const LayoutTable& table : layout_tables()) {
    for (const LayoutRow& row : table.rows) {
      if (row.blocks_ending.empty()) continue;
      for (const std::string_view last : {row.blocks_ending, row.scales_ending}) {
        const std::string doubled = std::string(row.blocks_ending) + std::string(last);
        if (!rest.ends_with(std::string(row.suffix) + doubled)) continue;
        rest.resize(rest.size() - doubled.size());
        return rest += last;
      }
    }
  }
  return rest;
}

// A tensor of a layer by the rules of one layout, whatever stands before the layer.
struct Known {
  Layout layout{};
  ParameterKind kind = ParameterKind::embedding;
  std::string name;
};

std::string usual_trunk(const LayoutTable& table) {
  return table.keeps_prefix ? std::string(kBackbone) : std::string();
}

std::string layer_prefix(const LayoutTable& table, std::int64_t layer) {
  return usual_trunk(table) + std::string(table.layer_component) + "." + std::to_string(layer) +
         ".";
}

std::optional<Known> known_as(const LayerName& split, const std::string& rest, DType dtype) {
  for (const LayoutTable& table : layout_tables()) {
    if (split.component != table.layer_component) continue;
    std::string name = layer_prefix(table, split.layer) + rest;
    const auto member = parse_member(name, dtype);
    const auto match =
        match_name(table.layout, "te", member ? member->name_template : std::string_view(name));
    const bool is_here = match && match->layer == split.layer &&
                         match->prefix == published_prefix(match->rows[0].kind, split.layer);
    if (is_here) return Known{table.layout, match->rows[0].kind, std::move(name)};
  }
  return std::nullopt;
}

// The name that the layout has for a tensor outside the layers, if it belongs to the trunk.
std::optional<std::string> top_level_name(const std::string& name, Layout layout,
                                          const std::string& trunk) {
  const std::string above =
      trunk.ends_with(kBackbone) ? trunk.substr(0, trunk.size() - kBackbone.size()) : trunk;
  for (const LayoutRow& row : layout_table(layout).rows) {
    if (is_per_layer(row.kind)) continue;
    const std::string suffix(row.suffix);
    const bool is_head = row.kind == ParameterKind::head;
    const bool is_own =
        name == trunk + suffix || name == suffix || (is_head && name == above + suffix);
    if (!is_own) continue;
    return tensor_name(layout, "flex",
                       {row.kind, std::nullopt, published_prefix(row.kind, std::nullopt)},
                       Piece::dense);
  }
  return std::nullopt;
}

class Restorer {
 public:
  Restorer(Catalog& catalog, std::vector<Problem>& problems)
      : catalog_(catalog), problems_(problems), names_(catalog.size()) {}

  void run() {
    if (!find_names()) return;
    for (std::size_t i = 0; i < names_.size(); ++i) catalog_[i].name = std::move(names_[i]);
    std::ranges::sort(catalog_, {}, &StoredTensor::name);
    for (const auto& [text, count] : removed_) note(text, count);
  }

  // The names by catalog index; none if two would become one, which is a problem.
  std::optional<std::vector<std::string>> names() {
    return find_names() ? std::optional(std::move(names_)) : std::nullopt;
  }

 private:
  bool find_names() {
    remove_wrappers();
    find_trunks();
    for (std::size_t i = 0; i < names_.size(); ++i) restore(i);
    return check_collisions();
  }

  void remove_wrappers() {
    for (std::size_t i = 0; i < names_.size(); ++i) names_[i] = unwrapped(catalog_[i].name);
  }

  // The layouts, with what stands before their layers: of the tensors of experts and routers, or
  // of all layers if there are none. Far fewer tensors than another trunk's are of another model,
  // such as a draft model.
  void find_trunks() {
    using Trunks = std::map<std::pair<std::string, Layout>, std::size_t>;
    Trunks of_mixtures;
    Trunks of_others;
    splits_.resize(names_.size());
    known_.resize(names_.size());
    for (std::size_t i = 0; i < names_.size(); ++i) {
      splits_[i] = split_at_layer(names_[i]);
      if (!splits_[i]) continue;
      const std::string rest = without_doubled_ending(splits_[i]->rest);
      known_[i] = known_as(*splits_[i], rest, catalog_[i].dtype);
      if (!known_[i]) continue;
      const ModelPart part = kind_row(known_[i]->kind).part;
      const bool is_mixture = part == ModelPart::experts || part == ModelPart::router;
      ++(is_mixture ? of_mixtures : of_others)[{splits_[i]->trunk, known_[i]->layout}];
    }
    const Trunks& found = of_mixtures.empty() ? of_others : of_mixtures;
    std::size_t most = 0;
    for (const auto& [trunk, count] : found) most = std::max(most, count);
    for (const auto& [trunk, count] : found) {
      if (count * 4 >= most) trunks_.insert(trunk);
    }
  }

  // Names that no layout knows stay.
  void restore(std::size_t i) {
    const bool is_restored = known_[i] ? restore_in_layer(i) : restore_top_level(i);
    if (is_restored) {
      note_wrappers(catalog_[i].name);
    } else {
      names_[i] = catalog_[i].name;
    }
  }

  bool restore_in_layer(std::size_t i) {
    const LayerName& split = *splits_[i];
    const bool is_own =
        std::ranges::any_of(trunks_, [&](const auto& trunk) { return trunk.first == split.trunk; });
    if (!is_own) return false;
    note_trunk(split.trunk, layout_table(known_[i]->layout));
    if (without_doubled_ending(split.rest) != split.rest) {
      ++removed_["an ending such as '_blocks' was written twice in"];
    }
    names_[i] = known_[i]->name;
    return true;
  }

  bool restore_top_level(std::size_t i) {
    if (splits_[i]) return false;
    for (const auto& [trunk, layout] : trunks_) {
      const auto name = top_level_name(names_[i], layout, trunk);
      if (!name) continue;
      if (*name != names_[i]) note_trunk(trunk, layout_table(layout));
      names_[i] = *name;
      return true;
    }
    return false;
  }

  void note_wrappers(std::string name) {
    const auto note = [&](std::string_view component) {
      ++removed_["a wrapper left '" + std::string(component) + "' in"];
    };
    for (const std::string_view component : kAnywhere) {
      if (remove_component(name, component)) note(component);
    }
    if (name.starts_with(kPeft)) note(kPeft);
  }

  void note_trunk(const std::string& trunk, const LayoutTable& table) {
    const std::string usual = usual_trunk(table);
    if (trunk == usual) return;
    ++removed_["'" + trunk + "' instead of '" + usual + "' begins"];
  }

  bool check_collisions() {
    std::map<std::string_view, std::size_t> owners;
    std::size_t collisions = 0;
    constexpr std::size_t kMostReported = 8;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      const auto [owner, is_new] = owners.emplace(names_[i], i);
      if (is_new || ++collisions > kMostReported) continue;
      problems_.push_back({Severity::fatal, ErrorCode::name_collision, "", catalog_[i].name,
                           "it and '" + catalog_[owner->second].name + "' would both be '" +
                               names_[i] +
                               "': the files hold two models. Keep the files of one of them"});
    }
    return collisions == 0;
  }

  void note(const std::string& text, std::size_t count) {
    problems_.push_back({Severity::note, ErrorCode::wrapped_names, "", "",
                         text + " " + std::to_string(count) + (count == 1 ? " name" : " names") +
                             "; the names are read as the layout has them"});
  }

  Catalog& catalog_;
  std::vector<Problem>& problems_;
  std::vector<std::string> names_;  // by catalog index
  std::vector<std::optional<LayerName>> splits_;
  std::vector<std::optional<Known>> known_;
  std::set<std::pair<std::string, Layout>> trunks_;
  std::map<std::string, std::size_t> removed_;  // what, and from how many names
};

// Whether the name is as a layout has it, or no layout has one that ends so.
bool is_published_top_level(const std::string& name) {
  for (const LayoutTable& table : layout_tables()) {
    for (const LayoutRow& row : table.rows) {
      if (is_per_layer(row.kind) || !name.ends_with(row.suffix)) continue;
      const std::string before = table.keeps_prefix ? published_prefix(row.kind, std::nullopt) : "";
      if (name == before + std::string(row.suffix)) return true;
    }
  }
  return std::ranges::none_of(layout_tables(), [&](const LayoutTable& table) {
    return std::ranges::any_of(table.rows, [&](const LayoutRow& row) {
      return !is_per_layer(row.kind) &&
             (name == row.suffix || name.ends_with("." + std::string(row.suffix)));
    });
  });
}

// Whether no name has traces and all layers are where the layout of the first known one has them.
bool is_clean(const Catalog& catalog) {
  std::optional<std::string> trunk;
  return std::ranges::all_of(catalog, [&](const StoredTensor& tensor) {
    const std::string& name = tensor.name;
    if (unwrapped(name) != name || without_doubled_ending(name) != name) return false;
    const auto split = split_at_layer(name);
    if (!split) return is_published_top_level(name);
    if (!trunk) {
      const auto known = known_as(*split, split->rest, tensor.dtype);
      if (known) trunk = usual_trunk(layout_table(known->layout));
    }
    return !trunk || split->trunk == *trunk;
  });
}

}  // namespace

void restore_names(Catalog& catalog, std::vector<Problem>& problems) {
  if (is_clean(catalog)) return;
  Restorer(catalog, problems).run();
}

}  // namespace mxferry::internal

namespace mxferry {

std::vector<std::string> restored_names(const std::vector<std::string>& names) {
  internal::Catalog catalog;
  catalog.reserve(names.size());
  for (const std::string& name : names) catalog.push_back({name, DType::BF16, {}, 0, 0, 0});
  std::vector<Problem> problems;
  auto restored = internal::Restorer(catalog, problems).names();
  if (restored) return *std::move(restored);
  const Problem& problem = problems.front();
  throw Error(problem.code, {.problem = problem.text, .tensor = problem.tensor});
}

}  // namespace mxferry
