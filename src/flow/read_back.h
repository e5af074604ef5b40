#pragma once

#include <optional>
#include <vector>

#include "base/file.h"
#include "flow/borders.h"
#include "flow/sink.h"

namespace mxferry::internal {

// A file, and the border file that holds bytes not in it yet.
struct WrittenFile {
  File file;
  std::optional<Borders> borders = {};
};

// Compares the bytes written to it with those that files already hold: running the conversion into
// it again proves that the files are its result. Thread-safe.
class ReadBack : public Sink {
 public:
  // `files` is indexed by StoredTensor::shard; nullopt for shards that are not written to. The
  // catalog must outlive this object.
  ReadBack(const Catalog& catalog, std::vector<std::optional<WrittenFile>> files)
      : catalog_(catalog), files_(std::move(files)) {}

  // Throws Error(verification_failed) with file, tensor and position.
  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t /*shard*/) override {}

 private:
  const Catalog& catalog_;
  std::vector<std::optional<WrittenFile>> files_;
};

}  // namespace mxferry::internal
