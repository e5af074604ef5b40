#include "flow/shared_shards.h"

#include <string>
#include <utility>

#include "mxferry/error.h"

namespace mxferry {

SharedShards::SharedShards(const Catalog& catalog, std::vector<OutputFile> files)
    : catalog_(catalog), files_(std::move(files)), shards_(files_.size()) {}

const File& SharedShards::open(std::size_t shard) {
  OpenShard& state = shards_[shard];
  const std::lock_guard lock(state.opening);
  if (!state.file) {
    const OutputFile& output = files_[shard];
    File file = File::open_for_writing(partial_name(output.path));
    if (file.size() != output.size) {
      throw Error(ErrorCode::file_size_mismatch,
                  {.problem = "the shard that is to be filled is not the one that was created",
                   .file = file.path(),
                   .expected = std::to_string(output.size) + " bytes",
                   .found = std::to_string(file.size()),
                   .advice = "Is something else writing to this folder?"});
    }
    state.file = std::move(file);
  }
  return *state.file;
}

void SharedShards::write(std::size_t tensor, std::uint64_t offset,
                         std::span<const std::byte> bytes) {
  const StoredTensor& stored = catalog_[tensor];
  open(stored.shard).write(stored.offset + offset, bytes);
}

void SharedShards::sync() const {
  for (const OpenShard& shard : shards_) {
    if (shard.file) shard.file->sync();
  }
}

}  // namespace mxferry
