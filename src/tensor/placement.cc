#include "mxferry/placement.h"

#include <algorithm>
#include <string>

#include "mxferry/error.h"

namespace mxferry {

namespace {

void check_placements(const Shape& shape, const DeviceMesh& mesh,
                      const std::vector<Placement>& placements) {
  mesh.check();
  (void)element_count(shape);
  if (placements.size() != mesh.dimensions.size()) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "each dimension of a mesh has one placement",
                 .expected = std::to_string(mesh.dimensions.size()) + " placements",
                 .found = std::to_string(placements.size())});
  }
  for (const Placement& placement : placements) {
    const Shard* const shard = std::get_if<Shard>(&placement);
    if (shard == nullptr) continue;
    if (shard->dim >= 0 && static_cast<std::size_t>(shard->dim) < shape.size()) continue;
    throw Error(ErrorCode::invalid_argument,
                {.problem = "the tensor does not have the dimension that is to be cut",
                 .expected = "a dimension of " + to_string(shape),
                 .found = "Shard(" + std::to_string(shard->dim) + ")"});
  }
}

}  // namespace

TensorPart local_part(const Shape& shape, const DeviceMesh& mesh,
                      const std::vector<Placement>& placements) {
  check_placements(shape, mesh, placements);
  TensorPart part{.begin = Shape(shape.size(), 0), .extent = shape};
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const Shard* const shard = std::get_if<Shard>(&placements[i]);
    if (shard == nullptr) continue;
    const auto dim = static_cast<std::size_t>(shard->dim);
    const DeviceMesh::Dimension& ranks = mesh.dimensions[i];
    const std::int64_t size = part.extent[dim];
    const std::int64_t chunk = size / ranks.size + (size % ranks.size == 0 ? 0 : 1);
    // Compare before multiplying: the product is then at most `size`.
    const bool has_any = chunk > 0 && ranks.coordinate <= size / chunk;
    const std::int64_t skipped = has_any ? chunk * ranks.coordinate : size;
    part.begin[dim] += skipped;
    part.extent[dim] = std::min(chunk, size - skipped);
    if (part.extent[dim] == 0) part.begin[dim] = shape[dim];
  }
  return part;
}

}  // namespace mxferry
