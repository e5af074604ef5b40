#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "destination/shard_files.h"
#include "flow/tile.h"
#include "gpt_oss/plan.h"
#include "mxferry/convert.h"
#include "source/source_checkpoint.h"
#include "verbs/memory_limits.h"
#include "verbs/reference_experts.h"

namespace mxferry::internal {

// Everything that is known about a conversion before its first byte. All but `own_parts`, `fit` and
// the part's fields in `summary` is the same in every part.
struct PreparedConversion {
  SourceCheckpoint source;
  std::optional<SourceCheckpoint> reference;
  ReferenceExperts reference_experts;
  Plan plan;
  OutputLayout layout;
  std::vector<std::string> names;     // of the shards
  std::vector<RecipePart> own_parts;  // this part's share of the recipes
  MemoryFit fit;
  nlohmann::json record;  // make_record()
  ConvertPlan summary;
};

// Throws what plan_conversion() throws.
PreparedConversion prepare(const ConvertOptions& options);

// The target's files that are made from the source's, config.json and dtypes.json: names and texts.
std::map<std::string, std::string> made_files(const ConvertOptions& options,
                                              const PreparedConversion& p);

// The names of the target's files other than the weights, their index and the manifest.
std::vector<std::string> side_file_names(const ConvertOptions& options,
                                         const PreparedConversion& p);

}  // namespace mxferry::internal
