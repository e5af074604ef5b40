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

// Some layouts give each expert its own tensors. All code but this file sees them stacked: one
// tensor [expert, ...] under the name of the layout's row, where this stands for the number.
inline constexpr std::string_view kExpertField = "{E}";

// The parsed name of one expert's tensor.
struct ExpertName {
  std::string stack;  // with kExpertField
  std::int64_t expert = 0;
};
// nullopt if no row of the layout with kExpertField fits. The number has no leading zeros.
std::optional<ExpertName> parse_expert_name(Layout layout, std::string_view name);

// The name of one expert's tensor.
std::string expert_name(std::string_view stack, std::int64_t expert);

// Replaces the experts' tensors of every layout with stacks, whose chunks they become, and sorts
// the catalog by name. An incomplete stack (a number is missing, shapes or dtypes differ) is a
// fatal problem, and its tensors stay as they are.
void stack_experts(Catalog& catalog, std::vector<Problem>& problems);

// Replaces each target that is a stack (StoredTensor::stacked) with one tensor per expert, and cuts
// its recipes to match.
void split_stacks(Catalog& target, std::vector<Recipe>& recipes);

}  // namespace mxferry::internal
