#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>

#include "gpt_oss/config_facts.h"
#include "gpt_oss/probe.h"
#include "gpt_oss/problem_list.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// The stored tensors of one parameter, as indices into the catalog, before they are checked.
struct Pieces {
  std::optional<std::size_t> dense, blocks, scales;
  std::span<const LayoutRow> rows;  // several if the tensor is fused
};

// What probe() found, before it is judged as a whole.
struct FoundModel {
  const Catalog& catalog;
  const Description& description;
  // Every parameter that has a tensor, good or bad; of a fused tensor, the first.
  const std::map<Parameter, Pieces>& parameters;
  const ConfigFacts& config;
  bool is_distributed = false;  // each file is that of a rank
};

// Reports layers and parameters that the model needs and the checkpoint lacks.
void check_completeness(const FoundModel& found, ProblemList& problems);

// Reports tensors whose names say that the weights are not, or not yet, those of a model: experts
// that were lost when it was saved, an adapter that is not merged, a quantization that no layout
// has.
void check_unknown_names(const FoundModel& found, ProblemList& problems);

}  // namespace mxferry::internal
