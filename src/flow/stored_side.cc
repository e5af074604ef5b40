#include "flow/stored_side.h"

#include <cmath>

#include "dense/convert.h"
#include "flow/sizes.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

// 6 * 2^(scale - 127).
float largest_of(std::uint8_t scale) noexcept {
  return static_cast<float>(std::ldexp(double{FP4_VALUES[7]}, scale - kScaleBias));
}

}  // namespace

void SideReader::open(std::int64_t expert, std::int64_t row, std::int64_t rows) {
  opened_ = {.expert = expert, .row = row, .rows = rows, .column = 0, .columns = columns_};
  if (!side_.packed) return;
  const std::size_t groups = to_size(columns_ / kBlockSize);
  const std::size_t first = to_size(expert * rows_ + row) * groups;
  const std::size_t blocks = to_size(rows) * groups;
  source_.read(side_.tensor, first * kBlockBytes, {buffers_.packed, blocks * kBlockBytes});
  source_.read(side_.scales, first, {buffers_.packed + blocks * kBlockBytes, blocks});
}

std::span<const std::byte> SideReader::packed() const noexcept {
  const std::size_t blocks = to_size(opened_.rows * (columns_ / kBlockSize));
  return {buffers_.packed, blocks * (kBlockBytes + 1)};
}

mxfp4::PackedView SideReader::view(const Box& box) const {
  const std::size_t groups = to_size(columns_ / kBlockSize);
  const std::size_t row = to_size(box.row - opened_.row);
  const std::size_t group = to_size(box.column / kBlockSize);
  const auto* blocks = reinterpret_cast<const std::uint8_t*>(buffers_.packed);
  const std::uint8_t* scales = blocks + to_size(opened_.rows) * groups * kBlockBytes;
  return {.blocks = blocks + (row * groups + group) * kBlockBytes,
          .block_row_bytes = groups * kBlockBytes,
          .scales = scales + row * groups + group,
          .scale_row_bytes = groups,
          .rows = to_size(box.rows),
          .groups = to_size(box.columns / kBlockSize)};
}

void SideReader::load(const Box& box, bool transposed, std::byte* out) {
  const std::size_t rows = to_size(box.rows);
  const std::size_t columns = to_size(box.columns);
  if (side_.packed) {
    if (transposed) {
      mxfp4::decode_transposed(view(box), dtype_, out, rows, mxfp4::Stores::cached);
    } else {
      mxfp4::decode_rows(view(box), dtype_, out, columns, mxfp4::Stores::cached);
    }
    return;
  }
  const std::int64_t first = box.expert * rows_ * columns_;
  if (side_.order == AxisOrder::in_out) {
    read_lines(to_size(first + box.column * rows_ + box.row), rows_, box.columns, box.rows, out);
    return;
  }
  const std::size_t place = to_size(first + box.row * columns_ + box.column);
  if (!transposed) return read_lines(place, columns_, box.rows, box.columns, out);
  read_lines(place, columns_, box.rows, box.columns, buffers_.spare);
  dense::transpose(buffers_.spare, columns, rows, columns, element_bytes(dtype_), out, rows);
}

void SideReader::load_flat(std::int64_t expert, std::int64_t first, std::int64_t count,
                           std::byte* out) {
  read_lines(to_size(expert * rows_ * columns_ + first), count, 1, count, out);
}

// All arguments are in elements.
void SideReader::read_lines(std::uint64_t first, std::int64_t stride, std::int64_t lines,
                            std::int64_t length, std::byte* out) {
  const std::size_t size = element_bytes(side_.dtype);
  const std::size_t line_bytes = to_size(length) * size;
  const std::uint64_t offset = side_.offset + first * size;
  std::byte* const raw = side_.dtype == dtype_ ? out : buffers_.raw;
  raw_ = {raw, to_size(lines) * line_bytes};
  if (stride == length) {
    source_.read(side_.tensor, offset, {raw, raw_.size()});
  } else {
    for (std::size_t line = 0; line < to_size(lines); ++line) {
      source_.read(side_.tensor, offset + line * to_size(stride) * size,
                   {raw + line * line_bytes, line_bytes});
    }
  }
  if (raw == out) return;
  if (side_.dtype == DType::U8) {
    auto* const numbers = reinterpret_cast<float*>(out);
    for (std::size_t i = 0; i < raw_.size(); ++i) {
      numbers[i] = static_cast<float>(std::to_integer<int>(raw[i]));
    }
    return;
  }
  dense::cast(raw, side_.dtype, out, dtype_, to_size(lines * length));
}

void SideReader::load_limits(const Box& box, bool transposed, float* limits) const {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> all{};
    for (std::size_t scale = 0; scale < all.size(); ++scale) {
      all[scale] = largest_of(static_cast<std::uint8_t>(scale));
    }
    return all;
  }();
  const mxfp4::PackedView packed = view(box);
  for (std::size_t row = 0; row < packed.rows; ++row) {
    const std::uint8_t* scales = packed.scales + row * packed.scale_row_bytes;
    for (std::size_t group = 0; group < packed.groups; ++group) {
      limits[transposed ? group * packed.rows + row : row * packed.groups + group] =
          table[scales[group]];
    }
  }
}

void SideReader::count_scales(std::array<std::uint64_t, 256>& counts) const {
  const mxfp4::PackedView all = view(opened_);
  // Neighbors often have the same scale; separate counters do not wait for each other.
  constexpr std::size_t kWays = 4;
  std::array<std::array<std::uint32_t, 256>, kWays> ways{};
  const std::size_t blocks = all.rows * all.groups;
  for (std::size_t i = 0; i < blocks; ++i) ++ways[i % kWays][all.scales[i]];
  for (std::size_t scale = 0; scale < counts.size(); ++scale) {
    for (const auto& way : ways) counts[scale] += way[scale];
  }
}

}  // namespace mxferry::internal
