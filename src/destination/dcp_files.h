#pragma once

#include <string>
#include <vector>

#include "destination/shard_files.h"
#include "gpt_oss/plan.h"
#include "mxferry/convert.h"

namespace mxferry::internal {

// Files as the ranks of a PyTorch run write them. Source: torch 2.13, HuggingFaceStorageWriter with
// save_distributed.

// Throws Error(invalid_argument) for a number of ranks that cannot be, and for what does not go
// with it.
void check_dcp_shards(const ConvertOptions& options);

// Cuts the plan for so many ranks: its targets become their chunks. Lays out the files, and names
// them; ranks that have nothing have none.
OutputLayout lay_out_for_ranks(Plan& plan, int ranks, std::vector<std::string>& names);

}  // namespace mxferry::internal
