#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/file.h"
#include "recipe/catalog.h"

namespace mxferry {

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
  // `files` by StoredTensor::shard. The catalog must outlive this object. Throws Error(io_error).
  FileSource(const Catalog& catalog, std::vector<File> files)
      : catalog_(catalog), files_(std::move(files)) {}

  void read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const override {
    const StoredTensor& stored = catalog_[tensor];
    files_[stored.shard].read(stored.offset + offset, buffer);
  }

 private:
  const Catalog& catalog_;
  std::vector<File> files_;
};

}  // namespace mxferry
