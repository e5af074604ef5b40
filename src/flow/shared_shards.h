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

// Shards at OutputFile::shared that another process has created and several processes write: see
// shared_file.h.
class SharedShards : public Sink {
 public:
  // `files` is indexed by StoredTensor::shard. The catalog's offsets must be set, and it must
  // outlive this object.
  SharedShards(const Catalog& catalog, std::vector<OutputFile> files);

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t) override {}

  // Writes what is still in memory to the border files. With `sync`, returns when everything is on
  // the disk. Nothing may be written afterwards.
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
