#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "flow/chunked_tensor.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// Where stored tensors come from. Thread-safe.
class Source {
 public:
  virtual ~Source() = default;

  // Fills the buffer with the tensor's bytes from `offset` on. `tensor` indexes the source catalog.
  virtual void read(std::size_t tensor, std::uint64_t offset,
                    std::span<std::byte> buffer) const = 0;
};

// The files of a checkpoint, opened once.
class FileSource : public Source {
 public:
  // `files` is indexed by StoredTensor::shard. The catalog must outlive this object. read() throws
  // Error: io_error, file_size_mismatch.
  FileSource(const Catalog& catalog, std::vector<File> files);

  void read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const override;

 private:
  const Catalog& catalog_;
  std::vector<File> files_;
  std::unordered_map<std::size_t, ChunkedTensor> chunked_;  // those of several chunks, by tensor
};

}  // namespace mxferry::internal
