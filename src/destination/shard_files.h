#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "flow/sink.h"
#include "mxferry/convert.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// The name of shard k (from 0) of n: "model.safetensors" where one suffices, else
// "model-0000k-of-0000n.safetensors" counted from 1, as transformers writes them.
std::string shard_name(std::size_t shard, std::size_t count);

// The name of the file of rank k (from 0) of a PyTorch run:
// "shard-0000K-model-00001-of-00001.safetensors", K = k + 1. Source: torch 2.13,
// HuggingFaceStorageWriter with save_distributed.
std::string rank_file_name(std::size_t rank);

// Whether a file of this name holds weights of a checkpoint, whole or unfinished: a shard or the
// file of a rank.
bool is_weights_name(std::string_view name);

// The files of a checkpoint to be written, in the format's order of tensors.
struct OutputLayout {
  std::vector<OutputFile> files;     // paths are file names, without folder
  std::vector<PlannedShard> shards;  // the same, for people
};

// Lays out every shard and sets the catalog's offsets. `names` by shard, and `metadata`, which is
// {"format": "pt"} where there is none.
OutputLayout lay_out(Catalog& catalog, const std::vector<std::string>& names,
                     const std::vector<std::map<std::string, std::string>>& metadata = {});

// Whether a checkpoint of these files has an index: neither a single file nor those of ranks do.
bool has_index(const std::vector<std::string>& names);

// model.safetensors.index.json for the catalog.
std::string index_text(const Catalog& catalog, const std::vector<std::string>& names);

// OpenAI's dtypes.json: tensor names to "BF16", "FP4" (blocks) and "UE8" (scales).
std::string dtypes_text(const Catalog& catalog);

}  // namespace mxferry::internal
