#include "mxferry/placement.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tests/base/expect_error.h"
#include "tests/support/meshes.h"

namespace mxferry::internal {
namespace {

// What PyTorch gives each rank: see make_placement_table.py.
struct Row {
  std::string_view shape;
  std::string_view mesh;
  std::string_view placements;
  std::string_view parts;
};

#include "tests/tensor/placement_table.inc"

Shape digits(std::string_view text) {
  Shape sizes;
  for (const char digit : text) sizes.push_back(digit - '0');
  return sizes;
}

std::vector<Placement> placements_of(std::string_view text) {
  std::vector<Placement> placements;
  for (const char c : text) {
    placements.push_back(c == 'R' ? Placement(Replicate()) : Placement(Shard{c - '0'}));
  }
  return placements;
}

DeviceMesh mesh_of(const Shape& sizes, std::int64_t rank) {
  DeviceMesh mesh;
  for (const std::int64_t size : sizes) {
    mesh.dimensions.push_back({.name = std::to_string(mesh.dimensions.size()), .size = size});
  }
  return testing::at_rank(mesh, rank);
}

TEST(LocalPart, IsWhatPyTorchGives) {
  for (const Row& row : kRows) {
    const Shape shape = digits(row.shape);
    const Shape expected = digits(row.parts);
    const std::int64_t ranks = element_count(digits(row.mesh));
    ASSERT_EQ(expected.size(), static_cast<std::size_t>(ranks) * shape.size() * 2);
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      const TensorPart part =
          local_part(shape, mesh_of(digits(row.mesh), rank), placements_of(row.placements));
      for (std::size_t i = 0; i < shape.size(); ++i) {
        const auto at = (static_cast<std::size_t>(rank) * shape.size() + i) * 2;
        ASSERT_EQ(part.begin[i], expected[at])
            << row.shape << ' ' << row.mesh << ' ' << row.placements << " rank " << rank;
        ASSERT_EQ(part.extent[i], expected[at + 1])
            << row.shape << ' ' << row.mesh << ' ' << row.placements << " rank " << rank;
      }
    }
  }
}

// Sizes that no table has.
RC_GTEST_PROP(LocalPart, CoversEveryElementOnceInOrder, ()) {
  const auto size = *rc::gen::inRange<std::int64_t>(0, 300);
  const auto sizes = *rc::gen::container<Shape>(3, rc::gen::inRange<std::int64_t>(1, 9));
  std::int64_t next = 0;
  for (std::int64_t rank = 0; rank < element_count(sizes); ++rank) {
    const TensorPart part = local_part({size}, mesh_of(sizes, rank), placements_of("000"));
    if (part.extent[0] == 0) continue;
    RC_ASSERT(part.begin[0] == next);
    next += part.extent[0];
  }
  RC_ASSERT(next == size);
}

TEST(LocalPart, IsAllOfATensorWithoutCuts) {
  EXPECT_EQ(local_part({3, 4}, {}, {}), (TensorPart{{0, 0}, {3, 4}}));
  EXPECT_EQ(local_part({}, mesh_of({2}, 1), {Replicate()}), TensorPart());
}

TEST(LocalPart, TakesTheLargestSizes) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  DeviceMesh mesh{{{.name = "ep", .size = kMost, .coordinate = kMost - 1}}};
  EXPECT_EQ(local_part({kMost}, mesh, {Shard{0}}), (TensorPart{{kMost - 1}, {1}}));
  mesh = {{{.name = "ep", .size = kMost - 1, .coordinate = kMost - 2}}};
  EXPECT_EQ(local_part({kMost}, mesh, {Shard{0}}), (TensorPart{{kMost}, {0}}));
}

TEST(LocalPart, RefusesWhatIsNoCut) {
  const DeviceMesh mesh = mesh_of({2, 3}, 4);
  const auto refuses = [&](const Shape& shape, const std::vector<Placement>& placements) {
    EXPECT_ERROR(ErrorCode::invalid_argument, (void)local_part(shape, mesh, placements));
  };
  refuses({4, 4}, {Shard{0}});
  refuses({4, 4}, {Shard{0}, Replicate(), Replicate()});
  refuses({4, 4}, {Shard{2}, Replicate()});
  refuses({4, 4}, {Replicate(), Shard{-1}});
  refuses({4, -4}, {Shard{0}, Replicate()});
  EXPECT_ERROR(ErrorCode::invalid_argument,
               (void)local_part({4}, {{{.name = "ep", .size = 2, .coordinate = 2}}}, {Shard{0}}));
}

}  // namespace
}  // namespace mxferry::internal
