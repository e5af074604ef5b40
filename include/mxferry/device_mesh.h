#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mxferry {

// The ranks of a job as a grid of named dimensions, and this rank's coordinates in it. NeMo
// AutoModel's expert parallelism uses the names "ep_shard" and "ep".
struct DeviceMesh {
  struct Dimension {
    std::string name;
    std::int64_t size = 1;
    std::int64_t coordinate = 0;  // of this rank: 0 to size - 1
  };
  std::vector<Dimension> dimensions;

  // The number of ranks: the product of the sizes, 1 without dimensions. Throws
  // Error(invalid_argument) for a size below 1, Error(size_overflow) for a product of 2^63 or more.
  std::int64_t rank_count() const;

  // Throws what rank_count() throws, and Error(invalid_argument) for a coordinate outside its
  // dimension and for two dimensions with the same name.
  void check() const;
};

}  // namespace mxferry
