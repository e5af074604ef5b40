#include "flow/shared_shards.h"

#include <utility>

#include "base/file.h"
#include "mxferry/error.h"

namespace mxferry::internal {

SharedShards::SharedShards(const Catalog& catalog, std::vector<OutputFile> files)
    : catalog_(catalog), files_(std::move(files)), shards_(files_.size()) {}

SharedFile& SharedShards::open(std::size_t shard) {
  OpenShard& state = shards_[shard];
  const std::lock_guard lock(state.opening);
  if (!state.file) {
    const OutputFile& output = files_[shard];
    if (!is_there(output.shared)) {
      throw Error(ErrorCode::io_error, {.problem = "the file that is to be filled is not there",
                                        .file = output.shared,
                                        .advice = "Do all processes see the same folder?"});
    }
    state.file.emplace(output.shared, output.borders, output.size);
  }
  return *state.file;
}

void SharedShards::write(std::size_t tensor, std::uint64_t offset,
                         std::span<const std::byte> bytes) {
  const StoredTensor& stored = catalog_[tensor];
  open(stored.shard).write(stored.offset + offset, bytes);
}

void SharedShards::finish(bool sync) {
  for (OpenShard& shard : shards_) {
    if (shard.file) shard.file->finish(sync);
  }
}

}  // namespace mxferry::internal
