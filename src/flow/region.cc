#include "flow/region.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>

#include "base/memory.h"
#include "base/parallel.h"
#include "dense/convert.h"
#include "flow/progress.h"
#include "flow/region_tiles.h"
#include "flow/sizes.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"

namespace mxferry::internal {
namespace {

// One worker's buffers.
struct Buffers {
  explicit Buffers(const RegionBufferSizes& sizes)
      : stored(allocate_bytes(sizes.stored)), spare(allocate_bytes(sizes.spare)) {}

  std::shared_ptr<std::byte> stored;  // as read
  std::shared_ptr<std::byte> spare;   // cast, or the weights of a block that the box cuts
};

// Lines of a stored matrix in a buffer.
struct Lines {
  const std::byte* data = nullptr;
  std::size_t stride = 0;  // bytes
};

// Fills the memory of one tile.
class TileReader {
 public:
  TileReader(const RegionTiles& tiles, const RegionTile& tile, const Source& source,
             Buffers& buffers)
      : region_(tiles.region()), tiles_(tiles), tile_(tile), source_(source), buffers_(buffers) {}

  // Returns the bytes read.
  std::uint64_t run() {
    switch (region_.recipe->operation) {
      case Operation::decode:
        decode();
        break;
      case Operation::transpose:
        transpose();
        break;
      default:
        move();
    }
    return bytes_read_;
  }

 private:
  void read(std::size_t tensor, std::uint64_t offset, std::byte* out, std::size_t size) {
    source_.read(tensor, offset, {out, size});
    bytes_read_ += size;
  }
  // Reads lines that begin every `stride` bytes from `offset` on. The result may include the bytes
  // between them.
  Lines read_lines(std::size_t tensor, std::uint64_t offset, std::size_t lines, std::size_t bytes,
                   std::size_t stride, std::byte* buffer);
  void move();
  void transpose();
  void decode();
  // Decodes columns [begin, end) of the packed tile to their place in memory: whole blocks, or a
  // part of one block.
  void decode_columns(const mxfp4::PackedView& packed, std::int64_t begin, std::int64_t end);

  std::byte* memory(std::int64_t line, std::int64_t column) const {
    const std::int64_t place = tile_.memory + line * tiles_.lines().stride + column;
    return region_.data + place * static_cast<std::int64_t>(element_bytes(region_.to));
  }

  const RegionRead& region_;
  const RegionTiles& tiles_;
  const RegionTile& tile_;
  const Source& source_;
  Buffers& buffers_;
  std::uint64_t bytes_read_ = 0;
};

Lines TileReader::read_lines(std::size_t tensor, std::uint64_t offset, std::size_t lines,
                             std::size_t bytes, std::size_t stride, std::byte* buffer) {
  if (reads_through(bytes, stride)) {
    read(tensor, offset, buffer, (lines - 1) * stride + bytes);
    return {buffer, stride};
  }
  for (std::size_t line = 0; line < lines; ++line) {
    read(tensor, offset + line * stride, buffer + line * bytes, bytes);
  }
  return {buffer, bytes};
}

// The source is stored in the target's order: copies or casts.
void TileReader::move() {
  const std::size_t from = element_bytes(region_.from);
  const std::size_t lines = to_size(tile_.lines);
  const std::size_t columns = to_size(tile_.columns);
  const std::size_t stride = to_size(tiles_.columns().size) * from;
  const std::size_t bytes = columns * from;
  const std::uint64_t offset = region_.recipe->source_offset +
                               (to_size(tile_.matrix * tiles_.lines().size + tile_.line) * stride) +
                               to_size(tile_.column) * from;
  const auto out = [&](std::size_t line) {
    return memory(tile_.line - tiles_.lines().begin + static_cast<std::int64_t>(line),
                  tile_.column - tiles_.columns().begin);
  };
  const bool as_it_is = region_.from == region_.to;
  if (as_it_is && (lines == 1 || !reads_through(bytes, stride))) {
    for (std::size_t line = 0; line < lines; ++line) {
      read(region_.recipe->source, offset + line * stride, out(line), bytes);
    }
    return;
  }
  const Lines stored =
      read_lines(region_.recipe->source, offset, lines, bytes, stride, buffers_.stored.get());
  for (std::size_t line = 0; line < lines; ++line) {
    const std::byte* in = stored.data + line * stored.stride;
    if (as_it_is) {
      std::memcpy(out(line), in, bytes);
    } else {
      dense::cast(in, region_.from, out(line), region_.to, columns);
    }
  }
}

// The source is stored in the other order: lines of the tile are columns of the stored matrix.
void TileReader::transpose() {
  const std::size_t from = element_bytes(region_.from);
  const std::size_t to = element_bytes(region_.to);
  const std::size_t width = to_size(tile_.lines);
  const std::size_t lines = to_size(tile_.columns);
  const std::size_t stride = to_size(tiles_.lines().size) * from;
  const std::uint64_t offset =
      region_.recipe->source_offset +
      to_size(tile_.matrix * tiles_.columns().size + tile_.column) * stride +
      to_size(tile_.line) * from;
  Lines stored = read_lines(region_.recipe->source, offset, lines, width * from, stride,
                            buffers_.stored.get());
  if (region_.from != region_.to) {
    for (std::size_t line = 0; line < lines; ++line) {
      dense::cast(stored.data + line * stored.stride, region_.from,
                  buffers_.spare.get() + line * width * to, region_.to, width);
    }
    stored = {buffers_.spare.get(), width * to};
  }
  dense::transpose(stored.data, stored.stride / to, lines, width, to,
                   memory(tile_.line - tiles_.lines().begin, tile_.column - tiles_.columns().begin),
                   to_size(tiles_.lines().stride));
}

void TileReader::decode() {
  const bool transposed = region_.recipe->target_order == AxisOrder::in_out;
  const std::int64_t first_row = transposed ? tile_.column : tile_.line;
  const std::size_t rows = to_size(transposed ? tile_.columns : tile_.lines);
  const std::int64_t begin = transposed ? tile_.line : tile_.column;
  const std::int64_t end = begin + (transposed ? tile_.lines : tile_.columns);
  const std::size_t group = to_size(begin / kBlockSize);
  const std::size_t groups = to_size((end + kBlockSize - 1) / kBlockSize) - group;
  const std::size_t all_groups = to_size(region_.recipe->columns / kBlockSize);
  const std::size_t first =
      to_size(tile_.matrix * region_.recipe->rows + first_row) * all_groups + group;
  std::byte* const buffer = buffers_.stored.get();
  const Lines blocks = read_lines(region_.recipe->source, first * kBlockBytes, rows,
                                  groups * kBlockBytes, all_groups * kBlockBytes, buffer);
  const Lines scales = read_lines(region_.recipe->source_scales, first, rows, groups, all_groups,
                                  buffer + rows * blocks.stride);
  const mxfp4::PackedView packed{.blocks = reinterpret_cast<const std::uint8_t*>(blocks.data),
                                 .block_row_bytes = blocks.stride,
                                 .scales = reinterpret_cast<const std::uint8_t*>(scales.data),
                                 .scale_row_bytes = scales.stride,
                                 .rows = rows,
                                 .groups = groups};
  const std::int64_t whole_begin =
      std::min(end, (begin + kBlockSize - 1) / kBlockSize * kBlockSize);
  const std::int64_t whole_end = std::max(whole_begin, end / kBlockSize * kBlockSize);
  decode_columns(packed, begin, whole_begin);
  decode_columns(packed, whole_begin, whole_end);
  decode_columns(packed, whole_end, end);
}

void TileReader::decode_columns(const mxfp4::PackedView& packed, std::int64_t begin,
                                std::int64_t end) {
  if (begin == end) return;
  const bool transposed = region_.recipe->target_order == AxisOrder::in_out;
  const std::int64_t tile_begin = transposed ? tile_.line : tile_.column;
  const std::size_t group = to_size(begin / kBlockSize - tile_begin / kBlockSize);
  mxfp4::PackedView part = packed;
  part.blocks += group * kBlockBytes;
  part.scales += group;
  part.groups = to_size((end - 1) / kBlockSize - begin / kBlockSize) + 1;
  const std::int64_t line =
      transposed ? begin - tiles_.lines().begin : tile_.line - tiles_.lines().begin;
  const std::int64_t column =
      transposed ? tile_.column - tiles_.columns().begin : begin - tiles_.columns().begin;
  std::byte* const out = memory(line, column);
  const std::size_t stride = to_size(tiles_.lines().stride);
  const bool whole = begin % kBlockSize == 0 && end % kBlockSize == 0;
  if (whole && transposed) {
    return mxfp4::decode_transposed(part, region_.to, out, stride, mxfp4::Stores::streaming);
  }
  if (whole) return mxfp4::decode_rows(part, region_.to, out, stride, mxfp4::Stores::streaming);
  // One block, of which the box holds a part.
  const std::size_t size = element_bytes(region_.to);
  const std::size_t skipped = to_size(begin % kBlockSize);
  const std::size_t kept = to_size(end - begin);
  const std::byte* const spare = buffers_.spare.get();
  if (transposed) {
    mxfp4::decode_transposed(part, region_.to, buffers_.spare.get(), part.rows,
                             mxfp4::Stores::cached);
    for (std::size_t i = 0; i < kept; ++i) {
      std::memcpy(out + i * stride * size, spare + (skipped + i) * part.rows * size,
                  part.rows * size);
    }
    return;
  }
  mxfp4::decode_rows(part, region_.to, buffers_.spare.get(), kBlockSize, mxfp4::Stores::cached);
  for (std::size_t row = 0; row < part.rows; ++row) {
    std::memcpy(out + row * stride * size, spare + (row * kBlockSize + skipped) * size,
                kept * size);
  }
}

}  // namespace

std::uint64_t read_regions(const std::vector<RegionRead>& regions, const Source& source,
                           const RegionReadOptions& options) {
  std::vector<RegionTiles> tiles;
  std::vector<std::int64_t> ends;  // by region: where its tiles end, counted over all regions
  RegionBufferSizes sizes;
  std::int64_t count = 0;
  for (const RegionRead& region : regions) {
    const RegionTiles& last = tiles.emplace_back(region, options.tile_bytes);
    ends.push_back(count += last.count());
    sizes = largest(sizes, last.buffer_sizes());
  }
  std::atomic<std::int64_t> next = 0;
  std::atomic<std::uint64_t> bytes_read = 0;
  Progress progress(options.progress);
  const int threads = static_cast<int>(std::clamp<std::int64_t>(count, 1, options.threads));
  run_workers(threads, options.stop, [&](int, std::stop_token stop) {
    Buffers buffers(sizes);
    while (!stop.stop_requested()) {
      const std::int64_t index = next++;
      if (index >= count) return;
      const auto which = std::ranges::upper_bound(ends, index) - ends.begin();
      const RegionTiles& region = tiles[to_size(which)];
      const RegionTile tile = region.tile(index - (which == 0 ? 0 : ends[to_size(which - 1)]));
      bytes_read += TileReader(region, tile, source, buffers).run();
      const auto elements = to_size(tile.lines) * to_size(tile.columns);
      progress.add(elements * element_bytes(region.region().to));
    }
  });
  return bytes_read;
}

}  // namespace mxferry::internal
