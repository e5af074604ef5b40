#include "gpt_oss/stacks.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/checked.h"
#include "gpt_oss/layout_table.h"
#include "recipe/chunks.h"

namespace mxferry::internal {
namespace {

// By expert: indexes into the catalog.
using Members = std::map<std::int64_t, std::size_t>;

// Why the members do not make a stack; empty if they do.
std::string flaw_of(const Catalog& catalog, const Members& members) {
  const StoredTensor& first = catalog[members.begin()->second];
  std::int64_t expected = 0;
  for (const auto& [expert, index] : members) {
    if (expert != expected++) {
      return "expert " + std::to_string(expected - 1) + " of " +
             std::to_string(members.rbegin()->first + 1) + " is missing";
    }
    const StoredTensor& tensor = catalog[index];
    if (tensor.shape != first.shape || tensor.dtype != first.dtype) {
      return "expert " + std::to_string(expert) + " has shape " + to_string(tensor.shape) +
             " and dtype " + std::string(name(tensor.dtype)) + ", expert 0 has " +
             to_string(first.shape) + " and " + std::string(name(first.dtype));
    }
  }
  return "";
}

void prepend(Shape& shape, std::int64_t size) {
  shape.insert(shape.begin(), size);
}

// nullopt if the size does not fit into 64 bits.
std::optional<StoredTensor> stack(Catalog& catalog, const std::string& name,
                                  const Members& members) {
  StoredTensor& first = catalog[members.begin()->second];
  const auto bytes = checked_multiply(first.byte_count, members.size());
  if (!bytes) return std::nullopt;
  StoredTensor result{.name = name,
                      .dtype = first.dtype,
                      .shape = first.shape,
                      .shard = first.shard,
                      .offset = first.offset,
                      .byte_count = *bytes};
  prepend(result.shape, static_cast<std::int64_t>(members.size()));
  result.stacked = members.size();
  for (const auto& [expert, index] : members) {
    StoredTensor& tensor = catalog[index];
    if (tensor.chunks.empty()) {
      tensor.chunks.push_back(
          {Shape(tensor.shape.size(), 0), tensor.shape, tensor.shard, tensor.offset});
    }
    for (StoredChunk& chunk : tensor.chunks) {
      prepend(chunk.offsets, expert);
      prepend(chunk.sizes, 1);
      result.chunks.push_back(std::move(chunk));
    }
  }
  return result;
}

}  // namespace

std::optional<ExpertName> parse_expert_name(Layout layout, std::string_view name) {
  for (const LayoutRow& row : layout_table(layout).rows) {
    const std::size_t field = row.suffix.find(kExpertField);
    if (field == std::string_view::npos) continue;
    const std::string_view after = row.suffix.substr(field + kExpertField.size());
    if (!name.ends_with(after)) continue;
    const std::string_view numbered = name.substr(0, name.size() - after.size());
    const std::size_t digits = numbered.find_last_not_of("0123456789") + 1;
    if (!numbered.substr(0, digits).ends_with(row.suffix.substr(0, field))) continue;
    const auto expert = parse_index(numbered.substr(digits));
    if (!expert) continue;
    std::string stacked(numbered.substr(0, digits));
    return ExpertName{(stacked += kExpertField) += after, *expert};
  }
  return std::nullopt;
}

std::string expert_name(std::string_view stack, std::int64_t expert) {
  std::string name(stack);
  return name.replace(name.rfind(kExpertField), kExpertField.size(), std::to_string(expert));
}

void stack_experts(Catalog& catalog, std::vector<Problem>& problems) {
  std::map<std::string, Members> stacks;
  for (std::size_t i = 0; i < catalog.size(); ++i) {
    for (const LayoutTable& table : layout_tables()) {
      const auto parsed = parse_expert_name(table.layout, catalog[i].name);
      if (parsed) stacks[parsed->stack].emplace(parsed->expert, i);
    }
  }
  if (stacks.empty()) return;
  Catalog result;
  std::vector<bool> is_taken(catalog.size());
  for (const auto& [name, members] : stacks) {
    std::string flaw = flaw_of(catalog, members);
    std::optional<StoredTensor> whole;
    if (flaw.empty()) {
      whole = stack(catalog, name, members);
      if (!whole) flaw = "all experts together are too large";
    }
    if (!whole) {
      problems.push_back({Severity::fatal, ErrorCode::missing_tensor, "", name, std::move(flaw)});
      continue;
    }
    result.push_back(std::move(*whole));
    for (const auto& [expert, index] : members) is_taken[index] = true;
  }
  for (std::size_t i = 0; i < catalog.size(); ++i) {
    if (!is_taken[i]) result.push_back(std::move(catalog[i]));
  }
  std::ranges::sort(result, {}, &StoredTensor::name);
  catalog = std::move(result);
}

void split_stacks(Catalog& target, std::vector<Recipe>& recipes) {
  const auto count = [](const StoredTensor& tensor) {
    return std::max<std::size_t>(1, tensor.stacked);
  };
  ChunkedRecipes cut = chunk_recipes(target, recipes, count);
  for (std::size_t i = 0; i < cut.target.size(); ++i) {
    StoredTensor& tensor = cut.target[i];
    tensor.shard = 0;
    if (std::exchange(tensor.stacked, 0) == 0) continue;
    tensor.name = expert_name(tensor.name, cut.begins[i]);
    tensor.shape.erase(tensor.shape.begin());
  }
  target = std::move(cut.target);
  recipes = std::move(cut.recipes);
}

}  // namespace mxferry::internal
