#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "flow/shared_file.h"
#include "flow/sink.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// Shards that another process has created and others write to too, where OutputFile::shared says:
// see shared_file.h.
class SharedShards : public Sink {
 public:
  // `files` by StoredTensor::shard, whose offsets are set. The catalog must outlive this object.
  SharedShards(const Catalog& catalog, std::vector<OutputFile> files);

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t) override {}

  // Puts what was written here into the files and the border files. `sync`: and returns when it is
  // on the disk. Nothing is written after it.
  void finish(bool sync);

 private:
  struct OpenShard {
    std::mutex opening;
    std::optional<SharedFile> file;
  };

  SharedFile& open(std::size_t shard);

  const Catalog& catalog_;
  std::vector<OutputFile> files_;
  std::vector<OpenShard> shards_;
};

}  // namespace mxferry::internal
