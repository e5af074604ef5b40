#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flow/tile.h"
#include "gpt_oss/plan.h"
#include "mxferry/convert.h"
#include "verbs/memory_limits.h"
#include "verbs/output.h"
#include "verbs/source_checkpoint.h"

namespace mxferry {

// Everything about a conversion that is known before its first byte. But for `share`, `fit` and the
// part in `summary` it is the same in every part.
struct Preparation {
  SourceCheckpoint source;
  std::optional<SourceCheckpoint> reference;
  Plan plan;
  OutputLayout layout;
  std::vector<std::string> names;  // of the shards
  std::vector<RecipePart> share;   // what this part does
  MemoryFit fit;
  ConvertPlan summary;
};

// Throws what plan_conversion() throws.
Preparation prepare(const ConvertOptions& options);

}  // namespace mxferry
