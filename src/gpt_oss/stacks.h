#pragma once

#include <vector>

#include "mxferry/inspect.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// Some layouts store one parameter as several tensors (name_template.h). Between these two
// functions they are a stack: one tensor [expert, ...], its blocks U8 [..., groups, 16], under the
// template of their names.

// Replaces such tensors of every layout with stacks, whose chunks they become, and sorts the
// catalog by name. An incomplete stack (a tensor is missing, shapes or dtypes differ) is a fatal
// problem, and its tensors stay as they are.
void stack_tensors(Catalog& catalog, std::vector<Problem>& problems);

// Replaces each target that is a stack (StoredTensor::stacked) with its tensors, and cuts its
// recipes by expert. A recipe of gate and up has the tensor of the even rows as its target, and
// StoredTensor::odd_rows tells the other.
void split_stacks(Catalog& target, std::vector<Recipe>& recipes);

}  // namespace mxferry::internal
