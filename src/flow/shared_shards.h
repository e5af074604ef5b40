#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/file.h"
#include "flow/sink.h"
#include "recipe/catalog.h"

namespace mxferry {

// Shards under their unfinished names, which another process has created and others write to too.
class SharedShards : public Sink {
 public:
  // `files` by StoredTensor::shard, whose offsets are set. The catalog must outlive this object.
  SharedShards(const Catalog& catalog, std::vector<OutputFile> files);

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t) override {}

  // Returns when what was written here is on the disk.
  void sync() const;

 private:
  struct OpenShard {
    std::mutex opening;
    std::optional<File> file;
  };

  const File& open(std::size_t shard);

  const Catalog& catalog_;
  std::vector<OutputFile> files_;
  std::vector<OpenShard> shards_;
};

}  // namespace mxferry
