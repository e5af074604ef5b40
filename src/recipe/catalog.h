#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mxferry/tensor.h"

namespace mxferry::internal {

// A part of a tensor: a box of it, row-major, in one place of a file.
struct StoredChunk {
  Shape offsets;  // where the box begins in the tensor, by dimension, in elements
  Shape sizes;    // of the box
  std::size_t shard = 0;
  std::uint64_t offset = 0;  // of its first byte in that file
};

// A tensor as a file holds it, or will hold it.
struct StoredTensor {
  std::string name;
  DType dtype = DType::U8;
  Shape shape;
  std::size_t shard = 0;     // which file
  std::uint64_t offset = 0;  // of its first byte in that file, header included
  std::uint64_t byte_count = 0;
  // Of a distributed checkpoint that is read: the parts, at least one, which hold every element
  // once, by the first element that they hold. Where there are several, `shard` and `offset` are
  // those of the first.
  std::vector<StoredChunk> chunks = {};
  // Of how many tensors of the files it is the stack; 0 for a tensor of the files.
  std::size_t stacked = 0;
};

// All tensors of one checkpoint.
using Catalog = std::vector<StoredTensor>;

}  // namespace mxferry::internal
