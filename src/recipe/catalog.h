#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mxferry/tensor.h"

namespace mxferry::internal {

// A chunk of a tensor: a box of it, stored row-major in one place in a file.
struct StoredChunk {
  Shape offsets;  // start of the box in the tensor, by dimension, in elements
  Shape sizes;    // size of the box
  std::size_t shard = 0;
  std::uint64_t offset = 0;  // of its first byte in that file
};

// Where every second row that a recipe writes to a tensor goes.
struct OddRows {
  std::size_t tensor = 0;  // index into the catalog
  std::uint64_t row_bytes = 0;
};

// A tensor as it is, or will be, stored in a file.
struct StoredTensor {
  std::string name;
  DType dtype = DType::U8;
  Shape shape;
  std::size_t shard = 0;     // which file
  std::uint64_t offset = 0;  // of its first byte in that file, header included
  std::uint64_t byte_count = 0;
  // Only in a distributed checkpoint that is read: the chunks, at least one, which together hold
  // every element once, ordered by their first element. If there are several, `shard` and `offset`
  // are those of the first.
  std::vector<StoredChunk> chunks = {};
  // The shape that the chunks' offsets and sizes count in, if not `shape`: one of its dimensions
  // is split in two.
  Shape chunk_shape = {};
  // Only of a target whose recipes fill the rows of two tensors by turns.
  std::optional<OddRows> odd_rows = {};
  // The number of stored tensors that it stacks (gpt_oss/stacks.h); 0 for a stored tensor itself.
  // Of a target, nonzero until split_stacks().
  std::size_t stacked = 0;
};

// All tensors of one checkpoint.
using Catalog = std::vector<StoredTensor>;

}  // namespace mxferry::internal
