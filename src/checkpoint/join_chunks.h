#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "checkpoint/folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {

// Limit on the chunks of one tensor, far above the number of ranks that save one.
inline constexpr std::size_t kMostChunks = 16'384;

// Joins the chunks in the files of a distributed checkpoint to whole tensors, by name. No file
// stores a tensor's global shape; as in torch, the ends of the chunks give it. Passes to `report`
// everything that makes a tensor differ from what the ranks saved, with the file at fault if there
// is one: missing or invalid chunk information, holes, overlaps, different dtypes and numbers of
// dimensions. Tensors with holes or overlaps are still returned, for display. `lacks_files`: some
// files could not be read, which explains holes; they are not reported.
std::vector<FolderTensor> join_chunks(
    const std::vector<ShardFile>& shards, bool lacks_files,
    const std::function<void(const Error&, std::string_view file)>& report);

}  // namespace mxferry::internal
