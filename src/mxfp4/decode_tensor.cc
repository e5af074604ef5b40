#include <algorithm>

#include "base/parallel.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"
#include "mxfp4/rows_per_item.h"

namespace mxferry::internal::mxfp4 {
namespace {

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
  const std::size_t item_rows = rows_per_item(tensor.experts, tensor.rows, threads);
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

}  // namespace mxferry::internal::mxfp4
