#include <algorithm>
#include <mutex>

#include "base/parallel.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/encode.h"
#include "mxfp4/rows_per_item.h"

namespace mxferry::internal::mxfp4 {
namespace {

DenseView rows_of(DenseView matrix, std::size_t row, std::size_t rows) {
  const std::size_t first = matrix.order == Order::transposed ? row : row * matrix.stride;
  matrix.data += first * static_cast<std::size_t>(bits(matrix.dtype)) / 8;
  matrix.rows = rows;
  return matrix;
}

}  // namespace

DenseView expert_of(const DenseTensorView& tensor, std::size_t expert) noexcept {
  const std::size_t size = static_cast<std::size_t>(bits(tensor.dtype)) / 8;
  return {.data = tensor.data + expert * tensor.rows * tensor.columns * size,
          .dtype = tensor.dtype,
          .order = tensor.order,
          .stride = tensor.order == Order::transposed ? tensor.rows : tensor.columns,
          .rows = tensor.rows,
          .columns = tensor.columns};
}

EncodeCounts encode_tensor(const DenseTensorView& tensor, QuantMode mode,
                           const std::uint8_t* reference_scales, std::uint8_t* blocks,
                           std::uint8_t* scales, int threads) {
  EncodeCounts total;
  if (tensor.experts == 0 || tensor.rows == 0) return total;
  const std::size_t groups = tensor.columns / kBlockSize;
  const std::size_t item_rows = rows_per_item(tensor.experts, tensor.rows, threads);
  const std::size_t items = (tensor.rows + item_rows - 1) / item_rows;
  std::mutex mutex;
  parallel_for(threads, static_cast<std::int64_t>(tensor.experts * items), [&](std::int64_t i) {
    const std::size_t expert = static_cast<std::size_t>(i) / items;
    const std::size_t row = static_cast<std::size_t>(i) % items * item_rows;
    const std::size_t first = (expert * tensor.rows + row) * groups;
    const EncodeOptions options{
        .mode = mode,
        .reference_scales = reference_scales == nullptr ? nullptr : reference_scales + first,
        .reference_row_bytes = groups,
        .stores = Stores::streaming};
    const EncodeCounts counts = encode(
        rows_of(expert_of(tensor, expert), row, std::min(item_rows, tensor.rows - row)), options,
        {blocks + first * kBlockBytes, groups * kBlockBytes, scales + first, groups});
    const std::lock_guard lock(mutex);
    total += counts;
  });
  return total;
}

}  // namespace mxferry::internal::mxfp4
