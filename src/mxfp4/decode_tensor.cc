#include <algorithm>

#include "base/parallel.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"

namespace mxferry::mxfp4 {
namespace {

// Rows of one expert that a thread decodes at a time: all of them where there are experts enough
// for all threads to end at about the same time. Otherwise a multiple of a cache line of any dtype,
// so that no two threads write to the same line.
std::size_t rows_per_item(const PackedTensorView& tensor, int threads) {
  constexpr std::size_t kItemsPerThread = 16;
  constexpr std::size_t kRowUnit = 128;
  const std::size_t items = static_cast<std::size_t>(std::max(1, threads)) * kItemsPerThread;
  const std::size_t parts = (items + tensor.experts - 1) / tensor.experts;
  const std::size_t rows = (tensor.rows + parts - 1) / parts;
  return std::max<std::size_t>(1, (rows + kRowUnit - 1) / kRowUnit) * kRowUnit;
}

PackedView rows_of(const PackedTensorView& tensor, std::size_t expert, std::size_t row,
                   std::size_t rows) {
  const std::size_t first = expert * tensor.rows + row;
  return {.blocks = tensor.blocks + first * tensor.groups * kBlockBytes,
          .block_row_bytes = tensor.groups * kBlockBytes,
          .scales = tensor.scales + first * tensor.groups,
          .scale_row_bytes = tensor.groups,
          .rows = rows,
          .groups = tensor.groups};
}

}  // namespace

void decode_tensor(const PackedTensorView& tensor, DType dtype, Order order, std::byte* out,
                   int threads) {
  if (tensor.experts == 0) return;
  const std::size_t columns = tensor.groups * kBlockSize;
  const std::size_t size = static_cast<std::size_t>(bits(dtype)) / 8;
  const std::size_t item_rows = rows_per_item(tensor, threads);
  const std::size_t items = (tensor.rows + item_rows - 1) / item_rows;
  parallel_for(threads, static_cast<std::int64_t>(tensor.experts * items), [&](std::int64_t i) {
    const std::size_t expert = static_cast<std::size_t>(i) / items;
    const std::size_t row = static_cast<std::size_t>(i) % items * item_rows;
    const PackedView part = rows_of(tensor, expert, row, std::min(item_rows, tensor.rows - row));
    std::byte* expert_out = out + expert * tensor.rows * columns * size;
    if (order == Order::transposed) {
      decode_transposed(part, dtype, expert_out + row * size, tensor.rows, Stores::streaming);
    } else {
      decode_rows(part, dtype, expert_out + row * columns * size, columns, Stores::streaming);
    }
  });
}

}  // namespace mxferry::mxfp4
