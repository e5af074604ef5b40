#include "mxferry/device_mesh.h"

#include "mxferry/error.h"

namespace mxferry {

std::int64_t DeviceMesh::rank_count() const {
  std::int64_t count = 1;
  for (const Dimension& dimension : dimensions) {
    if (dimension.size < 1) {
      throw Error(ErrorCode::invalid_argument,
                  {.problem = "the dimension '" + dimension.name + "' of the mesh has no ranks",
                   .expected = "a size of at least 1",
                   .found = std::to_string(dimension.size)});
    }
    if (__builtin_mul_overflow(count, dimension.size, &count)) {
      throw Error(ErrorCode::size_overflow,
                  {.problem = "the mesh has more ranks than can be counted",
                   .expected = "fewer than 2^63",
                   .found = "the sizes multiply beyond that at '" + dimension.name + "'"});
    }
  }
  return count;
}

}  // namespace mxferry
