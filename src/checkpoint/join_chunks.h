#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "checkpoint/folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {

// Chunks of one tensor that are read, far above the number of ranks that write one.
inline constexpr std::size_t kMostChunks = 16'384;

// The whole tensors, by name, that the files of a distributed checkpoint hold together. A global
// shape is nowhere stored; it is where the chunks end, as for torch. Everything that makes a tensor
// other than what the ranks saved goes to `report`, with the file where one is to blame: files that
// say nothing of chunks or the wrong thing, holes, overlaps, differing dtypes and dimensions.
// Tensors with holes and overlaps are among the result all the same, for people to see.
// `lacks_files`: not all files could be read, so that holes need no other reason.
std::vector<FolderTensor> join_chunks(
    const std::vector<ShardFile>& shards, bool lacks_files,
    const std::function<void(const Error&, std::string_view file)>& report);

}  // namespace mxferry::internal
