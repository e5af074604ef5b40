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

namespace mxferry::internal {

// Everything about a conversion that is known before its first byte. But for `own_parts`, `fit` and
// the part in `summary` it is the same in every part.
struct PreparedConversion {
  SourceCheckpoint source;
  std::optional<SourceCheckpoint> reference;
  Plan plan;
  OutputLayout layout;
  std::vector<std::string> names;     // of the shards
  std::vector<RecipePart> own_parts;  // of the recipes, what this part does
  MemoryFit fit;
  nlohmann::json record;  // make_record()
  ConvertPlan summary;
};

// Throws what plan_conversion() throws.
PreparedConversion prepare(const ConvertOptions& options);

// Files of the target that are made of the source's: config.json, dtypes.json. Names and texts.
std::map<std::string, std::string> made_files(const ConvertOptions& options,
                                              const PreparedConversion& p);

// What the target holds beside the weights, their index and the manifest.
std::vector<std::string> side_file_names(const ConvertOptions& options,
                                         const PreparedConversion& p);

}  // namespace mxferry::internal
