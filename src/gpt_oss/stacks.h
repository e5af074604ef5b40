#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mxferry/inspect.h"
#include "mxferry/layout.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// Some layouts give each expert tensors of its own. Everything but this file sees them stacked: one
// tensor [expert, ...] under the name of the layout's row, in which this stands for the number.
inline constexpr std::string_view kExpertField = "{E}";

bool is_stack(const StoredTensor& tensor) noexcept;

// A name of one expert's tensor taken apart.
struct ExpertName {
  std::string stack;  // with kExpertField
  std::int64_t expert = 0;
};
// nullopt for a name that no row of the layout with kExpertField knows. The number has no leading
// zeros, as everywhere.
std::optional<ExpertName> parse_expert_name(Layout layout, std::string_view name);

// The name of one expert's tensor.
std::string expert_name(std::string_view stack, std::int64_t expert);

// Replaces the experts' tensors of every layout by stacks whose chunks they are, and sorts the
// catalog by name. What is no whole stack (a number is missing, shapes or dtypes differ) is a fatal
// problem and stays apart.
void stack_experts(Catalog& catalog, std::vector<Problem>& problems);

// Targets that are stacks become a tensor an expert, their recipes are cut accordingly.
void split_stacks(Catalog& target, std::vector<Recipe>& recipes);

}  // namespace mxferry::internal
