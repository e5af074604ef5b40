#include "flow/sink.h"

#include <utility>

namespace mxferry {
namespace {

// Dirty pages beyond this are sent to the disk at once, so that the sync at the end has little left
// to wait for.
constexpr std::uint64_t kFlushWindow = std::uint64_t{32} << 20;

}  // namespace

FileSink::FileSink(const Catalog& catalog, std::vector<OutputFile> files, bool sync,
                   std::function<void(std::size_t)> on_finished)
    : catalog_(catalog),
      files_(std::move(files)),
      sync_(sync),
      on_finished_(std::move(on_finished)),
      shards_(files_.size()) {}

AtomicFile& FileSink::open(std::size_t shard) {
  OpenShard& state = shards_[shard];
  // Not std::call_once: where its function throws, as a full disk makes this one, the next call
  // hangs under ThreadSanitizer and on some systems (GCC bug 66146).
  const std::lock_guard lock(state.opening);
  if (!state.is_open) {
    const OutputFile& output = files_[shard];
    state.file.emplace(output.path, sync_,
                       output.shared ? AtomicFile::Writers::shared : AtomicFile::Writers::one);
    state.file->file().preallocate(output.size);
    state.file->file().write(0, std::as_bytes(std::span(output.header)));
    state.is_open = true;
  }
  return *state.file;
}

void FileSink::write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
  const StoredTensor& stored = catalog_[tensor];
  if (files_[stored.shard].finished) return;
  const File& file = open(stored.shard).file();
  file.write(stored.offset + offset, bytes);
  if (!sync_) return;
  std::atomic<std::uint64_t>& unflushed = shards_[stored.shard].unflushed;
  if (unflushed.fetch_add(bytes.size()) + bytes.size() >= kFlushWindow) {
    unflushed = 0;
    constexpr std::uint64_t kToTheEnd = 0;
    file.start_flush(0, kToTheEnd);
  }
}

void FileSink::finish_shard(std::size_t shard) {
  const OutputFile& output = files_[shard];
  if (output.finished) return;
  AtomicFile& file = open(shard);
  output.shared ? file.leave() : file.commit();
  shards_[shard].file.reset();
  if (on_finished_) on_finished_(shard);
}

}  // namespace mxferry
