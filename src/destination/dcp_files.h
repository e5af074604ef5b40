#pragma once

#include <string>
#include <vector>

#include "destination/shard_files.h"
#include "gpt_oss/plan.h"
#include "mxferry/convert.h"

namespace mxferry::internal {

// Files laid out as the ranks of a PyTorch run write them. Source: torch 2.13,
// HuggingFaceStorageWriter with save_distributed.

// Throws Error(invalid_argument) if dcp_shards is out of range or conflicts with another option.
void check_dcp_shards(const ConvertOptions& options);

// Cuts the plan into chunks for `ranks` ranks: its targets become the chunks. Lays out the files
// and appends their names to `names`. Ranks without chunks get no file.
OutputLayout lay_out_for_ranks(Plan& plan, int ranks, std::vector<std::string>& names);

}  // namespace mxferry::internal
