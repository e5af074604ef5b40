#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mxferry/dtype.h"
#include "mxferry/layout.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

enum class Operation {
  copy,       // bytes unchanged
  cast,       // dense to dense in another dtype, same order
  transpose,  // dense to dense in the other order, cast if from != to
  decode,     // blocks and scales to dense, in target_order
  encode,     // dense in source_order to blocks and scales
};

// One parameter's way from the tensors that hold it in the source to the tensor that will hold it
// in the target. Logically the parameter is [experts, rows, columns], where rows are the output and
// columns the input dimension; a vector is [1, 1, n]. For `copy`, columns counts bytes, and from
// and to are unused.
struct Recipe {
  Operation operation = Operation::copy;
  std::size_t source = 0;           // index into the source catalog; for `decode` the blocks
  std::size_t source_scales = 0;    // `decode` only
  std::uint64_t source_offset = 0;  // bytes into the source tensor, if it is fused or the target
                                    // cut
  std::size_t target = 0;           // index into the target catalog; for `encode` the blocks
  std::size_t target_scales = 0;    // `encode` only
  // `encode` only: index into the catalog of the reference, if there is one.
  std::optional<std::size_t> reference_scales = {};
  std::uint64_t target_offset = 0;  // bytes into the target tensor
  DType from = DType::U8;
  DType to = DType::U8;
  AxisOrder source_order = AxisOrder::out_in;  // `encode`
  AxisOrder target_order = AxisOrder::out_in;  // `decode` and `transpose`
  // `transpose`, `decode`, `encode`: the expert of the source, and of the reference, that becomes
  // the target's first. Nonzero only if the target is cut.
  std::int64_t first_expert = 0;
  std::int64_t experts = 1;
  std::int64_t rows = 1;
  std::int64_t columns = 0;
};

// The tensors that the recipe fills, as indexes into the target catalog: at least one.
std::vector<std::size_t> targets_of(const Recipe& recipe, const Catalog& target);

// Bytes that the recipe reads and writes.
std::uint64_t source_bytes(const Recipe& recipe) noexcept;
std::uint64_t target_bytes(const Recipe& recipe) noexcept;

}  // namespace mxferry::internal
