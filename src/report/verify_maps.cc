#include "report/verify_maps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/text.h"
#include "report/html.h"
#include "report/svg.h"

namespace mxferry::internal {
namespace {

bool differs(const ComparedParameter* parameter) {
  return parameter->total.different > 0;
}

// The changed and the total number: of blocks if there are any, else of weights.
std::pair<std::uint64_t, std::uint64_t> changed(const Difference& difference) {
  if (difference.blocks > 0) return {difference.blocks_changed, difference.blocks};
  return {difference.different, difference.weights};
}

double changed_percent(const Difference& difference) {
  const auto [part, whole] = changed(difference);
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

// The expert weights of one kind in all layers.
struct ExpertGroup {
  std::string kind;
  std::vector<const ComparedParameter*> parameters;  // by layer
  std::size_t experts = 0;
};

std::vector<ExpertGroup> expert_groups(const VerifyReport& report) {
  std::vector<ExpertGroup> groups;
  for (const ComparedParameter& parameter : report.parameters) {
    if (parameter.experts.empty()) continue;
    auto group = std::ranges::find(groups, parameter.kind, &ExpertGroup::kind);
    if (group == groups.end()) group = groups.insert(group, {parameter.kind, {}, 0});
    group->parameters.push_back(&parameter);
    group->experts = std::max(group->experts, parameter.experts.size());
  }
  for (ExpertGroup& group : groups)
    std::ranges::stable_sort(group.parameters, {}, &ComparedParameter::layer);
  // Reverse alphabetical order puts gate and up before down, as in the model.
  std::ranges::stable_sort(groups, std::ranges::greater(), &ExpertGroup::kind);
  return groups;
}

std::string layer_text(const ComparedParameter& parameter) {
  return parameter.layer ? fmt::format("{}", *parameter.layer) : "-";
}

// The color steps of the heat maps' two measures, common to all groups.
struct Measures {
  explicit Measures(const std::vector<ExpertGroup>& groups) {
    std::vector<double> decibels, shares;
    const auto add = [&](const Difference& difference) {
      if (difference.different == 0) {
        exact = true;
        return;
      }
      decibels.push_back(difference.ranked_sqnr_db());
      if (changed_percent(difference) > 0) shares.push_back(changed_percent(difference));
    };
    for (const ExpertGroup& group : groups)
      for (const ComparedParameter* parameter : group.parameters) {
        add(parameter->total);
        for (const Difference& expert : parameter->experts) add(expert);
      }
    sqnr = ColorSteps::decibels(std::move(decibels));
    share = ColorSteps::shares(shares);
  }

  HeatCell cell(bool of_sqnr, const Difference& difference, const std::string& where) const {
    const int color = difference.different == 0 ? kExact
                      : of_sqnr                 ? sqnr.color(difference.ranked_sqnr_db())
                                                : share.color(changed_percent(difference));
    if (!of_sqnr) {
      const auto [part, whole] = changed(difference);
      return {color, fmt::format("{}: {}, {}", where, percent(part, whole), count_of(part, whole))};
    }
    std::string title = where + ": " + sqnr_text(difference);
    if (difference.blocks_saturated > 0)
      title += fmt::format(", {} saturated", plural(difference.blocks_saturated, "block"));
    return {color, title};
  }

  ColorSteps sqnr, share;
  bool exact = false;
};

HeatMap expert_map(const ExpertGroup& group, const Measures& measures, bool of_sqnr) {
  HeatMap map;
  map.description = fmt::format("{}: {} by layer and expert", group.kind,
                                of_sqnr ? "SQNR" : "share of what changed");
  map.row_axis = "layer";
  map.column_axis = "expert";
  map.first_column_apart = true;
  map.columns.emplace_back("all");
  for (std::size_t expert = 0; expert < group.experts; ++expert)
    map.columns.push_back(std::to_string(expert));
  for (const ComparedParameter* parameter : group.parameters) {
    HeatRow row{layer_text(*parameter), {}};
    const std::string layer = "layer " + row.label;
    row.cells.push_back(measures.cell(of_sqnr, parameter->total, layer + ", all experts"));
    for (std::size_t expert = 0; expert < parameter->experts.size(); ++expert)
      row.cells.push_back(measures.cell(of_sqnr, parameter->experts[expert],
                                        fmt::format("{}, expert {}", layer, expert)));
    map.rows.push_back(std::move(row));
  }
  return map;
}

void append_layer_table(std::string& out, const ExpertGroup& group) {
  out +=
      "<details><summary>Numbers by layer</summary>\n<table>\n<thead><tr><th scope=\"col\">Layer"
      "</th><th scope=\"col\">SQNR</th><th scope=\"col\">Worst expert</th><th scope=\"col\">"
      "Changed</th><th scope=\"col\">Blocks saturated</th></tr></thead>\n<tbody>\n";
  for (const ComparedParameter* parameter : group.parameters) {
    const auto worst =
        std::ranges::min_element(parameter->experts, {}, &Difference::ranked_sqnr_db);
    const auto [part, whole] = changed(parameter->total);
    append(out,
           "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}: {}</td><td>{}</td><td>{}</td></tr>\n",
           layer_text(*parameter), sqnr_text(parameter->total), worst - parameter->experts.begin(),
           sqnr_text(*worst), percent(part, whole), grouped(parameter->total.blocks_saturated));
  }
  out += "</tbody>\n</table>\n</details>\n";
}

void append_group(std::string& out, const ExpertGroup& group, const Measures& measures) {
  append(out, "<h3>{}</h3>\n", html_text(group.kind));
  if (std::ranges::none_of(group.parameters, differs)) {
    append(out, "<p>No weight differs in {}.</p>\n", plural(group.parameters.size(), "layer"));
    return;
  }
  const bool blocks = group.parameters.front()->total.blocks > 0;
  // Two maps are side by side if both fit at their natural size.
  append(out,
         "<div class=\"pair{}\" style=\"grid-template-columns:"
         "repeat(auto-fit,minmax(min(100%,{}px),1fr))\">\n",
         group.experts > 64 ? " wide" : "", (group.experts + 6) * 10);
  append(out, "<figure>\n<figcaption>SQNR <span>{} per expert</span></figcaption>\n{}{}</figure>\n",
         "signal to quantization noise", heat_map(expert_map(group, measures, true)),
         measures.sqnr.legend(measures.exact ? "exact" : ""));
  append(out,
         "<figure>\n<figcaption>{} changed <span>share per "
         "expert</span></figcaption>\n{}{}</figure>\n",
         blocks ? "Blocks" : "Weights", heat_map(expert_map(group, measures, false)),
         measures.share.legend(measures.exact ? "none" : ""));
  out += "</div>\n";
  append_layer_table(out, group);
}

// ---- All parameters but expert weight matrices.

struct OtherParameters {
  explicit OtherParameters(const VerifyReport& report) {
    for (const ComparedParameter& parameter : report.parameters) {
      if (!parameter.experts.empty()) continue;
      ++count;
      if (differs(&parameter)) ++different;
      if (!parameter.layer || parameter.kind.empty()) {
        outside.push_back(&parameter);
        continue;
      }
      layers.insert(*parameter.layer);
      const ComparedParameter*& place = kinds[parameter.kind][*parameter.layer];
      // Two prefixes for one layer make two parameters; show the one that differs.
      if (place == nullptr || differs(&parameter)) place = &parameter;
    }
  }

  std::size_t count = 0, different = 0;
  std::set<std::int64_t> layers;
  std::map<std::string, std::map<std::int64_t, const ComparedParameter*>> kinds;
  std::vector<const ComparedParameter*> outside;  // not in a layer
};

// Kinds are the rows, because their names are long.
HeatMap kind_map(const OtherParameters& others, const ColorSteps& sqnr) {
  HeatMap map;
  map.description = "SQNR of the other parameters by kind and layer";
  map.column_axis = "layer";
  map.every_row_labelled = true;
  for (const std::int64_t layer : others.layers) map.columns.push_back(std::to_string(layer));
  for (const auto& [kind, by_layer] : others.kinds) {
    HeatRow row{kind, {}};
    for (const std::int64_t layer : others.layers) {
      HeatCell cell;
      if (const auto found = by_layer.find(layer); found != by_layer.end()) {
        const Difference& total = found->second->total;
        cell.color = total.different == 0 ? kExact : sqnr.color(total.ranked_sqnr_db());
        cell.title = fmt::format("layer {}, {}: {}", layer, kind, sqnr_text(total));
      }
      row.cells.push_back(std::move(cell));
    }
    map.rows.push_back(std::move(row));
  }
  return map;
}

void append_kinds(std::string& out, const OtherParameters& others) {
  std::vector<double> decibels;
  bool exact = false;
  for (const auto& [kind, by_layer] : others.kinds)
    for (const auto& [layer, parameter] : by_layer) {
      if (differs(parameter))
        decibels.push_back(parameter->total.ranked_sqnr_db());
      else
        exact = true;
    }
  if (decibels.empty()) return;
  const ColorSteps sqnr = ColorSteps::decibels(std::move(decibels));
  append(out,
         "<figure>\n<figcaption>SQNR <span>by kind and layer</span></figcaption>\n{}{}</figure>\n",
         heat_map(kind_map(others, sqnr)), sqnr.legend(exact ? "exact" : ""));
}

void append_outside(std::string& out, const OtherParameters& others) {
  constexpr std::ptrdiff_t kMost = 10;
  const auto different = std::ranges::count_if(others.outside, differs);
  if (different == 0) return;
  append(out, "<p>Outside the layers:</p>\n<ul>\n");
  std::ptrdiff_t listed = 0;
  for (const ComparedParameter* parameter : others.outside) {
    if (!differs(parameter) || listed++ >= kMost) continue;
    append(out, "<li>{}: {}, {} weights differ</li>\n", html_name(parameter->tensor_b),
           sqnr_text(parameter->total),
           count_of(parameter->total.different, parameter->total.weights));
  }
  if (different > kMost) append(out, "<li>and {} more</li>\n", different - kMost);
  out += "</ul>\n";
}

}  // namespace

std::string expert_maps(const VerifyReport& report) {
  const std::vector<ExpertGroup> groups = expert_groups(report);
  if (groups.empty()) return "";
  const Measures measures(groups);
  std::string out = "<section>\n<h2>Experts</h2>\n";
  for (const ExpertGroup& group : groups) append_group(out, group, measures);
  return out + "</section>\n";
}

std::string other_maps(const VerifyReport& report) {
  const OtherParameters others(report);
  if (others.count == 0) return "";
  std::string out = "<section>\n<h2>Other parameters</h2>\n";
  if (others.different == 0)
    append(out, "<p>No weight differs in {}: attention, norms, router, biases, embeddings.</p>\n",
           plural(others.count, "parameter"));
  else
    append(out, "<p>{} of {} differ.</p>\n", grouped(others.different),
           plural(others.count, "parameter"));
  append_kinds(out, others);
  append_outside(out, others);
  return out + "</section>\n";
}

}  // namespace mxferry::internal
