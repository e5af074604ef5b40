#include "flow/source.h"

#include <utility>

namespace mxferry::internal {

FileSource::FileSource(const Catalog& catalog, std::vector<File> files)
    : catalog_(catalog), files_(std::move(files)) {
  for (std::size_t i = 0; i < catalog.size(); ++i) {
    if (catalog[i].chunks.size() > 1) chunked_.emplace(i, ChunkedTensor(catalog[i]));
  }
}

void FileSource::read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const {
  const StoredTensor& stored = catalog_[tensor];
  if (stored.chunks.size() > 1) return chunked_.at(tensor).read(files_, offset, buffer);
  files_[stored.shard].read(stored.offset + offset, buffer);
}

}  // namespace mxferry::internal
