#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mxferry/tensor.h"

namespace mxferry {

// A tensor as a file holds it, or will hold it.
struct StoredTensor {
  std::string name;
  DType dtype = DType::U8;
  Shape shape;
  std::size_t shard = 0;     // which file
  std::uint64_t offset = 0;  // of its first byte in that file, header included
  std::uint64_t byte_count = 0;
};

// All tensors of one checkpoint.
using Catalog = std::vector<StoredTensor>;

}  // namespace mxferry
