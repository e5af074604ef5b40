#include "mxferry/device_mesh.h"

#include <set>
#include <string_view>

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

void DeviceMesh::check() const {
  (void)rank_count();
  std::set<std::string_view> names;
  for (const Dimension& dimension : dimensions) {
    if (dimension.coordinate < 0 || dimension.coordinate >= dimension.size) {
      throw Error(
          ErrorCode::invalid_argument,
          {.problem = "this rank has no place in the mesh dimension '" + dimension.name + "'",
           .expected = "a coordinate from 0 to " + std::to_string(dimension.size - 1),
           .found = std::to_string(dimension.coordinate)});
    }
    if (!names.insert(dimension.name).second) {
      throw Error(ErrorCode::invalid_argument,
                  {.problem = "the mesh has two dimensions of one name",
                   .expected = "different names",
                   .found = "'" + dimension.name + "' twice"});
    }
  }
}

}  // namespace mxferry
