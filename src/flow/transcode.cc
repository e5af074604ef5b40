#include "flow/transcode.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/memory.h"
#include "dense/convert.h"
#include "flow/sizes.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"
#include "mxfp4/encode.h"

namespace mxferry::internal {
namespace {

// The conversion of one tile of one recipe.
class TileJob {
 public:
  TileJob(const Transcoding& transcoding, const Recipe& recipe, const Tile& tile, Scratch& scratch)
      : t_(transcoding), recipe_(recipe), tile_(tile), scratch_(scratch) {}

  ConversionCounts run() {
    switch (recipe_.operation) {
      case Operation::copy:
        copy();
        break;
      case Operation::cast:
        cast();
        break;
      case Operation::transpose:
        transpose();
        break;
      case Operation::decode:
        decode();
        break;
      case Operation::encode:
        encode();
        break;
    }
    return counts_;
  }

 private:
  std::int64_t extent() const noexcept { return tile_.end - tile_.begin; }
  // The tile's expert in the source, and in the reference.
  std::int64_t source_expert() const noexcept { return recipe_.first_expert + tile_.expert; }

  void copy();
  void cast();
  void transpose();
  void decode();
  void decode_transposed(const mxfp4::PackedView& packed);
  void decode_straight(const mxfp4::PackedView& packed);
  void encode();
  void encode_transposed(const mxfp4::EncodeOptions& options, const mxfp4::PackedTarget& target);
  void encode_straight(const mxfp4::EncodeOptions& options, const mxfp4::PackedTarget& target);
  // Quantizes weights that begin at a row and a group of the tile.
  void encode_part(const mxfp4::DenseView& dense, std::size_t row, std::size_t group,
                   mxfp4::EncodeOptions options, mxfp4::PackedTarget target);

  void read(std::size_t tensor, std::uint64_t offset, std::byte* buffer, std::size_t size) const {
    t_.source.read(tensor, offset, {buffer, size});
  }
  // Fills the source buffer with `rows` rows of row_bytes, `stride` bytes apart in the source from
  // `offset` on.
  void read_rows(std::uint64_t offset, std::size_t stride, std::size_t rows,
                 std::size_t row_bytes) const;
  // Casts source elements; the first is element `first` of the stored tensor.
  void cast_elements(const std::byte* in, std::byte* out, std::size_t count, std::size_t first);
  // Writes `rows` rows of row_bytes, contiguous in memory, `stride` bytes apart in the target from
  // `offset` on.
  void write_rows(std::uint64_t offset, std::size_t stride, const std::byte* data, std::size_t rows,
                  std::size_t row_bytes) const;
  void check(const mxfp4::PackedView& packed);
  [[noreturn]] void refuse(ErrorCode code, const std::string& problem, const std::string& place,
                           const std::string& advice) const;
  std::string place(const mxfp4::BlockIndex& block) const;

  const Transcoding& t_;
  const Recipe& recipe_;
  const Tile& tile_;
  Scratch& scratch_;
  ConversionCounts counts_;
};

void TileJob::copy() {
  const std::size_t size = to_size(extent());
  const auto begin = static_cast<std::uint64_t>(tile_.begin);
  read(recipe_.source, recipe_.source_offset + begin, scratch_.source(), size);
  t_.sink.write(recipe_.target, recipe_.target_offset + begin, {scratch_.source(), size});
}

void TileJob::cast() {
  const std::size_t from = element_bytes(recipe_.from);
  const std::size_t to = element_bytes(recipe_.to);
  const std::size_t begin = to_size(tile_.begin);
  const std::size_t count = to_size(extent());
  read(recipe_.source, recipe_.source_offset + begin * from, scratch_.source(), count * from);
  cast_elements(scratch_.source(), scratch_.target(), count, recipe_.source_offset / from + begin);
  t_.sink.write(recipe_.target, recipe_.target_offset + begin * to,
                {scratch_.target(), count * to});
}

// A tile is a slab of whole rows of the stored source matrix, which become columns of the target.
void TileJob::transpose() {
  const bool target_rows_are_out = recipe_.target_order == AxisOrder::out_in;
  const std::size_t columns =
      to_size(target_rows_are_out ? recipe_.rows : recipe_.columns);  // of the stored matrix
  const std::size_t all_rows = to_size(target_rows_are_out ? recipe_.columns : recipe_.rows);
  const std::size_t rows = to_size(extent());
  const std::size_t from = element_bytes(recipe_.from);
  const std::size_t to = element_bytes(recipe_.to);
  const std::size_t first = (to_size(source_expert()) * all_rows + to_size(tile_.begin)) * columns;
  read(recipe_.source, recipe_.source_offset + first * from, scratch_.source(),
       rows * columns * from);
  const std::byte* slab = scratch_.source();
  if (recipe_.from != recipe_.to) {
    cast_elements(slab, scratch_.middle(), rows * columns, recipe_.source_offset / from + first);
    slab = scratch_.middle();
  }
  const std::size_t chunk = to_size(chunk_extent(recipe_, t_.limits, extent()));
  for (std::size_t column = 0; column < columns; column += chunk) {
    const std::size_t width = std::min(chunk, columns - column);
    dense::transpose(slab + column * to, columns, rows, width, to, scratch_.target(), rows);
    const std::size_t row =
        to_size(tile_.expert) * columns + column;  // of the target, over all experts
    write_rows((row * all_rows + to_size(tile_.begin)) * to, all_rows * to, scratch_.target(),
               width, rows * to);
  }
}

void TileJob::decode() {
  const std::size_t groups = to_size(recipe_.columns / kBlockSize);
  const std::size_t rows = to_size(extent());
  const std::size_t first_row = to_size(source_expert() * recipe_.rows + tile_.begin);
  const std::size_t block_row = groups * kBlockBytes;
  std::byte* const blocks = scratch_.source();
  std::byte* const scales = blocks + rows * block_row;
  read(recipe_.source, first_row * block_row, blocks, rows * block_row);
  read(recipe_.source_scales, first_row * groups, scales, rows * groups);
  const mxfp4::PackedView packed{.blocks = reinterpret_cast<const std::uint8_t*>(blocks),
                                 .block_row_bytes = block_row,
                                 .scales = reinterpret_cast<const std::uint8_t*>(scales),
                                 .scale_row_bytes = groups,
                                 .rows = rows,
                                 .groups = groups};
  check(packed);
  if (recipe_.target_order == AxisOrder::in_out) {
    decode_transposed(packed);
  } else {
    decode_straight(packed);
  }
}

void TileJob::decode_transposed(const mxfp4::PackedView& packed) {
  const std::size_t to = element_bytes(recipe_.to);
  const std::size_t all_rows = to_size(recipe_.rows);
  const std::size_t chunk = to_size(chunk_extent(recipe_, t_.limits, extent()));
  for (std::size_t group = 0; group < packed.groups; group += chunk) {
    mxfp4::PackedView part = packed;
    part.blocks += group * kBlockBytes;
    part.scales += group;
    part.groups = std::min(chunk, packed.groups - group);
    mxfp4::decode_transposed(part, recipe_.to, scratch_.target(), packed.rows,
                             mxfp4::Stores::cached);
    const std::size_t column = to_size(tile_.expert * recipe_.columns) + group * kBlockSize;
    write_rows((column * all_rows + to_size(tile_.begin)) * to, all_rows * to, scratch_.target(),
               part.groups * kBlockSize, packed.rows * to);
  }
}

void TileJob::decode_straight(const mxfp4::PackedView& packed) {
  const std::size_t columns = to_size(recipe_.columns);
  const std::size_t row_bytes = columns * element_bytes(recipe_.to);
  const std::size_t first_row = to_size(tile_.expert * recipe_.rows + tile_.begin);
  const std::size_t chunk = to_size(chunk_extent(recipe_, t_.limits, extent()));
  for (std::size_t row = 0; row < packed.rows; row += chunk) {
    mxfp4::PackedView part = packed;
    part.blocks += row * packed.block_row_bytes;
    part.scales += row * packed.scale_row_bytes;
    part.rows = std::min(chunk, packed.rows - row);
    mxfp4::decode_rows(part, recipe_.to, scratch_.target(), columns, mxfp4::Stores::cached);
    write_rows((first_row + row) * row_bytes, row_bytes, scratch_.target(), part.rows, row_bytes);
  }
}

void TileJob::encode() {
  const std::size_t groups = to_size(recipe_.columns / kBlockSize);
  const std::size_t rows = to_size(extent());
  const std::size_t first_row = to_size(tile_.expert * recipe_.rows + tile_.begin);
  const std::size_t block_row = groups * kBlockBytes;
  std::byte* const blocks = scratch_.target();
  std::byte* const scales = blocks + rows * block_row;
  mxfp4::EncodeOptions options{.mode = t_.quant_mode, .saturate_nonfinite = t_.allow_nonfinite};
  if (recipe_.reference_scales) {
    const std::size_t reference_row = to_size(source_expert() * recipe_.rows + tile_.begin);
    t_.reference->read(*recipe_.reference_scales, reference_row * groups,
                       {scratch_.middle(), rows * groups});
    options.reference_scales = reinterpret_cast<const std::uint8_t*>(scratch_.middle());
    options.reference_row_bytes = groups;
  }
  const mxfp4::PackedTarget target{.blocks = reinterpret_cast<std::uint8_t*>(blocks),
                                   .block_row_bytes = block_row,
                                   .scales = reinterpret_cast<std::uint8_t*>(scales),
                                   .scale_row_bytes = groups};
  if (recipe_.source_order == AxisOrder::in_out) {
    encode_transposed(options, target);
  } else {
    encode_straight(options, target);
  }
  t_.sink.write(recipe_.target, first_row * block_row, {blocks, rows * block_row});
  t_.sink.write(recipe_.target_scales, first_row * groups, {scales, rows * groups});
}

void TileJob::encode_transposed(const mxfp4::EncodeOptions& options,
                                const mxfp4::PackedTarget& target) {
  const std::size_t from = element_bytes(recipe_.from);
  const std::size_t all_rows = to_size(recipe_.rows);
  const std::size_t rows = to_size(extent());
  const std::size_t groups = to_size(recipe_.columns / kBlockSize);
  const std::size_t chunk = to_size(chunk_extent(recipe_, t_.limits, extent()));
  for (std::size_t group = 0; group < groups; group += chunk) {
    const std::size_t columns = std::min(chunk, groups - group) * kBlockSize;
    const std::size_t column = to_size(source_expert() * recipe_.columns) + group * kBlockSize;
    const std::size_t first = column * all_rows + to_size(tile_.begin);
    read_rows(recipe_.source_offset + first * from, all_rows * from, columns, rows * from);
    encode_part({.data = scratch_.source(),
                 .dtype = recipe_.from,
                 .order = mxfp4::Order::transposed,
                 .stride = rows,
                 .rows = rows,
                 .columns = columns},
                0, group, options, target);
  }
}

void TileJob::encode_straight(const mxfp4::EncodeOptions& options,
                              const mxfp4::PackedTarget& target) {
  const std::size_t columns = to_size(recipe_.columns);
  const std::size_t row_bytes = columns * element_bytes(recipe_.from);
  const std::size_t first_row = to_size(source_expert() * recipe_.rows + tile_.begin);
  const std::size_t chunk = to_size(chunk_extent(recipe_, t_.limits, extent()));
  for (std::size_t row = 0; row < to_size(extent()); row += chunk) {
    const std::size_t rows = std::min(chunk, to_size(extent()) - row);
    read_rows(recipe_.source_offset + (first_row + row) * row_bytes, row_bytes, rows, row_bytes);
    encode_part({.data = scratch_.source(),
                 .dtype = recipe_.from,
                 .order = mxfp4::Order::rows,
                 .stride = columns,
                 .rows = rows,
                 .columns = columns},
                row, 0, options, target);
  }
}

void TileJob::encode_part(const mxfp4::DenseView& dense, std::size_t row, std::size_t group,
                          mxfp4::EncodeOptions options, mxfp4::PackedTarget target) {
  target.blocks += row * target.block_row_bytes + group * kBlockBytes;
  target.scales += row * target.scale_row_bytes + group;
  if (options.reference_scales != nullptr) {
    options.reference_scales += row * options.reference_row_bytes + group;
  }
  const mxfp4::EncodeCounts counts = mxfp4::encode(dense, options, target);
  counts_.blocks += counts.blocks;
  counts_.kept += counts.kept;
  counts_.saturated += counts.saturated;
  if (!counts.suspicious) return;
  const auto found = mxfp4::find_unencodable(dense, options);
  if (!found) return;
  const std::string place = "expert " + std::to_string(source_expert()) + ", row " +
                            std::to_string(to_size(tile_.begin) + row + found->row) + ", column " +
                            std::to_string(group * kBlockSize + found->column);
  if (std::isnan(found->value)) {
    refuse(ErrorCode::nonfinite_weight, "a weight is NaN, which MXFP4 cannot hold", place,
           "Repair the checkpoint");
  }
  refuse(ErrorCode::nonfinite_weight,
         std::isinf(found->value) ? "a weight is infinite, which MXFP4 cannot hold"
                                  : "a weight is too large for MXFP4",
         place, "Repair the checkpoint, or use --allow-nonfinite to write the largest number");
}

void TileJob::read_rows(std::uint64_t offset, std::size_t stride, std::size_t rows,
                        std::size_t row_bytes) const {
  std::byte* const buffer = scratch_.source();
  if (stride == row_bytes) return read(recipe_.source, offset, buffer, rows * row_bytes);
  for (std::size_t row = 0; row < rows; ++row) {
    read(recipe_.source, offset + row * stride, buffer + row * row_bytes, row_bytes);
  }
}

void TileJob::write_rows(std::uint64_t offset, std::size_t stride, const std::byte* data,
                         std::size_t rows, std::size_t row_bytes) const {
  offset += recipe_.target_offset;
  if (stride == row_bytes) return t_.sink.write(recipe_.target, offset, {data, rows * row_bytes});
  for (std::size_t row = 0; row < rows; ++row) {
    t_.sink.write(recipe_.target, offset + row * stride, {data + row * row_bytes, row_bytes});
  }
}

void TileJob::cast_elements(const std::byte* in, std::byte* out, std::size_t count,
                            std::size_t first) {
  const dense::Losses losses = dense::cast(in, recipe_.from, out, recipe_.to, count);
  counts_.underflows += losses.underflows;
  counts_.flushed += losses.flushed;
  if (losses.first_overflow) {
    refuse(ErrorCode::overflow, "a value is too large for " + std::string(name(recipe_.to)),
           "element " + std::to_string(first + *losses.first_overflow), "Use --dtype bf16 or f32");
  }
}

void TileJob::check(const mxfp4::PackedView& packed) {
  if (!t_.allow_nonfinite) {
    if (const auto block = mxfp4::find_nonfinite_block(packed)) {
      refuse(ErrorCode::nonfinite_block, "a block's scale makes weights infinite or NaN",
             place(*block), "Use --allow-nonfinite to convert it as it is");
    }
  }
  if (recipe_.to != DType::F16) return;
  const mxfp4::HalfLosses losses = mxfp4::count_half_losses(packed);
  counts_.underflows += losses.underflows;
  counts_.flushed += losses.flushed;
  if (losses.first_overflow) {
    refuse(ErrorCode::overflow, "a weight is too large for F16", place(*losses.first_overflow),
           "Use --dtype bf16 or f32");
  }
}

std::string TileJob::place(const mxfp4::BlockIndex& block) const {
  return "expert " + std::to_string(source_expert()) + ", row " +
         std::to_string(to_size(tile_.begin) + block.row) + ", group " +
         std::to_string(block.group);
}

void TileJob::refuse(ErrorCode code, const std::string& problem, const std::string& place,
                     const std::string& advice) const {
  const std::size_t tensor = recipe_.source;
  throw Error(code, {.problem = problem + ": " + place,
                     .tensor = t_.source_catalog[tensor].name,
                     .advice = advice});
}

}  // namespace

Scratch::Scratch(const ScratchSizes& sizes)
    : source_(allocate_bytes(sizes.source)),
      middle_(allocate_bytes(sizes.middle)),
      target_(allocate_bytes(sizes.target)) {}

ConversionCounts& ConversionCounts::operator+=(const ConversionCounts& other) noexcept {
  underflows += other.underflows;
  flushed += other.flushed;
  blocks += other.blocks;
  kept += other.kept;
  saturated += other.saturated;
  return *this;
}

ConversionCounts transcode(const Transcoding& transcoding, const Recipe& recipe, const Tile& tile,
                           Scratch& scratch) {
  return TileJob(transcoding, recipe, tile, scratch).run();
}

}  // namespace mxferry::internal
