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

// The name of shard k (from 0) of n: "model.safetensors" if n is 1, else
// "model-0000k-of-0000n.safetensors", counted from 1, as transformers writes them.
std::string shard_name(std::size_t shard, std::size_t count);

// The file name of rank k (from 0) of a PyTorch run:
// "shard-0000K-model-00001-of-00001.safetensors", K = k + 1. Source: torch 2.13,
// HuggingFaceStorageWriter with save_distributed.
std::string rank_file_name(std::size_t rank);

// Whether a file of this name holds a checkpoint's weights, finished or not: a shard or a rank's
// file.
bool is_weights_name(std::string_view name);

// The shards of a checkpoint to be written, their tensors in the format's order.
struct OutputLayout {
  std::vector<OutputFile> files;     // paths are file names, without folder
  std::vector<PlannedShard> shards;  // the same, for reports
};

// Lays out every shard and sets the catalog's offsets. `names` and `metadata` are by shard; without
// `metadata`, every shard has {"format": "pt"}.
OutputLayout lay_out(Catalog& catalog, const std::vector<std::string>& names,
                     const std::vector<std::map<std::string, std::string>>& metadata = {});

// Whether a checkpoint with these shards has an index. A single file has none, nor do ranks' files.
bool has_index(const std::vector<std::string>& names);

// The text of model.safetensors.index.json for the catalog.
std::string index_text(const Catalog& catalog, const std::vector<std::string>& names);

// The text of OpenAI's dtypes.json: tensor names to "FP4" (blocks), "UE8" (scales) or the dtype,
// such as "BF16".
std::string dtypes_text(const Catalog& catalog);

}  // namespace mxferry::internal
