#pragma once

#include <cstddef>
#include <cstdint>

#include "mxferry/dtype.h"

namespace mxferry {

// The order of a matrix in memory. A parameter is logically [out, in]; `in_out` is its transpose.
enum class AxisOrder { out_in, in_out };

constexpr AxisOrder flipped(AxisOrder order) noexcept {
  return order == AxisOrder::out_in ? AxisOrder::in_out : AxisOrder::out_in;
}

enum class Operation {
  copy,       // bytes as they are
  cast,       // dense to dense of another dtype, same order
  transpose,  // dense to dense in the other order, cast where from != to
  decode,     // blocks and scales to dense, in target_order
};

// One parameter's way from the tensors that hold it in the source to the tensor that holds it in
// the target. Logically the parameter is [experts, rows, columns] with rows the output and columns
// the input dimension; a vector is [1, 1, n]. For `copy` columns counts bytes, and from and to mean
// nothing.
struct Recipe {
  Operation operation = Operation::copy;
  std::size_t source = 0;           // index into the source catalog; for `decode` the blocks
  std::size_t source_scales = 0;    // `decode` only
  std::uint64_t source_offset = 0;  // bytes into the source tensor: a part of a fused one
  std::size_t target = 0;           // index into the target catalog
  std::uint64_t target_offset = 0;  // bytes into the target tensor
  DType from = DType::U8;
  DType to = DType::U8;
  AxisOrder target_order = AxisOrder::out_in;  // `decode` and `transpose`
  std::int64_t experts = 1;
  std::int64_t rows = 1;
  std::int64_t columns = 0;
};

// Bytes that the recipe reads and writes.
std::uint64_t source_bytes(const Recipe& recipe) noexcept;
std::uint64_t target_bytes(const Recipe& recipe) noexcept;

}  // namespace mxferry
