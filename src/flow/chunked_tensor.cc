#include "flow/chunked_tensor.h"

#include <algorithm>
#include <array>

#include "flow/sizes.h"

namespace mxferry::internal {
namespace {

// Memory ranges that one system call fills.
constexpr std::size_t kPlaces = 256;

}  // namespace

ChunkedTensor::ChunkedTensor(const StoredTensor& tensor) {
  for (const StoredChunk& chunk : tensor.chunks) chunks_.push_back(runs_of(tensor, chunk));
  std::ranges::sort(chunks_, {}, &Runs::first);
  std::uint64_t reach = 0;
  for (const Runs& chunk : chunks_) {
    reach = std::max(reach, chunk.end);
    reach_.push_back(reach);
  }
}

// A run spans the innermost dimensions that the chunk holds whole and the next one outward.
ChunkedTensor::Runs ChunkedTensor::runs_of(const StoredTensor& tensor, const StoredChunk& chunk) {
  Runs runs{.shard = chunk.shard, .file_offset = chunk.offset};
  runs.length = element_bytes(tensor.dtype);
  std::uint64_t stride = runs.length;  // of the dimension, in bytes
  bool in_run = true;
  std::uint64_t last = 0;
  const Shape& shape = tensor.chunk_shape.empty() ? tensor.shape : tensor.chunk_shape;
  for (std::size_t i = shape.size(); i-- > 0;) {
    const auto size = static_cast<std::uint64_t>(chunk.sizes[i]);
    runs.first += static_cast<std::uint64_t>(chunk.offsets[i]) * stride;
    last += (size - 1) * stride;
    if (in_run) {
      runs.length *= size;
      in_run = chunk.sizes[i] == shape[i];
    } else if (size > 1) {
      runs.steps.insert(runs.steps.begin(), {size, stride});
      runs.count *= size;
    }
    stride *= static_cast<std::uint64_t>(shape[i]);
  }
  runs.end = runs.first + last + element_bytes(tensor.dtype);
  return runs;
}

std::uint64_t ChunkedTensor::Runs::start(std::uint64_t run) const noexcept {
  std::uint64_t offset = first;
  for (std::size_t i = steps.size(); i > 0; --i) {
    const Step& step = steps[i - 1];
    offset += run % step.count * step.bytes;
    run /= step.count;
  }
  return offset;
}

std::uint64_t ChunkedTensor::Runs::first_behind(std::uint64_t offset) const noexcept {
  std::uint64_t low = 0;
  std::uint64_t high = count;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (start(middle) + length <= offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

void ChunkedTensor::read(const std::vector<File>& files, std::uint64_t offset,
                         std::span<std::byte> buffer) const {
  const auto first = std::ranges::upper_bound(reach_, offset) - reach_.begin();
  for (auto chunk = chunks_.begin() + first;
       chunk != chunks_.end() && chunk->first < offset + buffer.size(); ++chunk) {
    read_runs(*chunk, files[chunk->shard], offset, buffer);
  }
}

void ChunkedTensor::read_runs(const Runs& runs, const File& file, std::uint64_t offset,
                              std::span<std::byte> buffer) {
  const std::uint64_t end = offset + buffer.size();
  std::uint64_t run = runs.first_behind(offset);
  std::array<std::span<std::byte>, kPlaces> places;
  while (run < runs.count && runs.start(run) < end) {
    const std::uint64_t skipped = offset - std::min(offset, runs.start(run));
    const std::uint64_t from = runs.file_offset + run * runs.length + skipped;
    std::size_t used = 0;
    for (; used < kPlaces && run < runs.count; ++run) {
      const std::uint64_t start = runs.start(run);
      if (start >= end) break;
      const std::uint64_t begin = std::max(start, offset);
      places[used++] = buffer.subspan(begin - offset, std::min(start + runs.length, end) - begin);
    }
    file.read_into(from, std::span(places).first(used));
  }
}

}  // namespace mxferry::internal
