#include "flow/sink.h"

#include <utility>

namespace mxferry::internal {
namespace {

// After this many bytes, dirty pages are sent to the disk, so that the sync at the end has little
// left to wait for.
constexpr std::uint64_t kFlushWindow = std::uint64_t{32} << 20;

}  // namespace

FileSink::FileSink(const Catalog& catalog, std::vector<OutputFile> files, FileSinkOptions options)
    : catalog_(catalog),
      files_(std::move(files)),
      options_(std::move(options)),
      shards_(files_.size()) {}

FileSink::OpenShard& FileSink::open(std::size_t shard) {
  OpenShard& state = shards_[shard];
  // Not std::call_once: if its function throws, as this one does on a full disk, the next call
  // hangs under ThreadSanitizer and on some systems (GCC bug 66146).
  const std::lock_guard lock(state.opening);
  if (!state.is_open) {
    const OutputFile& output = files_[shard];
    output.shared.empty() ? create(output, state) : share(output, state);
    state.is_open = true;
  }
  return state;
}

void FileSink::create(const OutputFile& output, OpenShard& state) const {
  state.file.emplace(output.path, options_.sync);
  const File& file = state.file->file();
  file.preallocate(output.size);
  file.write(0, std::as_bytes(std::span(output.header)));
  if (!options_.digests) return;
  state.digest.emplace(output.size);
  state.digest->note_written(file, 0, output.header.size());
}

void FileSink::share(const OutputFile& output, OpenShard& state) {
  state.shared.emplace(output.shared, output.borders, output.size);
}

void FileSink::flush_window(OpenShard& shard, std::uint64_t written) const {
  if (shard.unflushed.fetch_add(written) + written < kFlushWindow) return;
  shard.unflushed = 0;
  constexpr std::uint64_t kToTheEnd = 0;
  const File& file = shard.shared ? shard.shared->file() : shard.file->file();
  file.start_flush(0, kToTheEnd);
}

void FileSink::write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
  const StoredTensor& stored = catalog_[tensor];
  if (files_[stored.shard].finished) return;
  OpenShard& shard = open(stored.shard);
  const std::uint64_t place = stored.offset + offset;
  shard.shared ? shard.shared->write(place, bytes) : shard.file->file().write(place, bytes);
  if (options_.sync) flush_window(shard, bytes.size());
  if (shard.digest) shard.digest->note_written(shard.file->file(), place, bytes.size());
}

void FileSink::finish_shard(std::size_t shard) {
  const OutputFile& output = files_[shard];
  if (output.finished) return;
  OpenShard& state = open(shard);
  std::string sha256;
  if (state.shared) {
    state.shared->finish(options_.sync);
    state.shared.reset();
  } else {
    if (state.digest) sha256 = state.digest->finish(state.file->file(), options_.stop);
    state.file->commit();
    state.file.reset();
    if (options_.sync) sync_folder(output.path.parent_path());
  }
  if (options_.on_finished) options_.on_finished(shard, sha256);
}

}  // namespace mxferry::internal
