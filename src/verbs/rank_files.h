#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gpt_oss/plan.h"
#include "mxferry/convert.h"
#include "verbs/output.h"

namespace mxferry {

// Files as the ranks of a PyTorch run write them. Source: torch 2.13, HuggingFaceStorageWriter with
// save_distributed.

// The name of the file of rank k (from 0): "shard-0000K-model-00001-of-00001.safetensors", K = k
// + 1.
std::string rank_file_name(std::size_t rank);

// Whether a file is such a one, or an unfinished one.
bool is_rank_file(std::string_view name);

// Throws Error(invalid_argument) for a number of ranks that cannot be, and for what does not go
// with it.
void check_dcp_shards(const ConvertOptions& options);

// Cuts the plan for so many ranks: its targets become their chunks. Lays out the files, and names
// them; ranks that have nothing have none.
OutputLayout lay_out_for_ranks(Plan& plan, int ranks, std::vector<std::string>& names);

}  // namespace mxferry
