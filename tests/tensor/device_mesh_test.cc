#include "mxferry/device_mesh.h"

#include <gtest/gtest.h>

#include <string>

#include "mxferry/error.h"
#include "tests/base/expect_error.h"

namespace mxferry::internal {
namespace {

TEST(DeviceMesh, CountsItsRanks) {
  EXPECT_EQ(DeviceMesh{}.rank_count(), 1);
  const DeviceMesh mesh{{{.name = "ep_shard", .size = 3}, {.name = "ep", .size = 4}}};
  EXPECT_EQ(mesh.rank_count(), 12);
}

TEST(DeviceMesh, RefusesADimensionWithoutRanks) {
  const DeviceMesh mesh{{{.name = "ep_shard", .size = 3}, {.name = "ep", .size = 0}}};
  try {
    (void)mesh.rank_count();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(error.details().problem.find("'ep'"), std::string::npos);
  }
}

TEST(DeviceMesh, RefusesMoreRanksThanCanBeCounted) {
  const std::int64_t half = std::int64_t{1} << 32;
  const DeviceMesh mesh{{{.name = "ep_shard", .size = half}, {.name = "ep", .size = half}}};
  try {
    (void)mesh.rank_count();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::size_overflow);
  }
}

// check() of a mesh that is refused.
void expect_refused(const DeviceMesh& mesh, const std::string& found) {
  const auto error = testing::error_of([&] { mesh.check(); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error->details().found, found);
}

TEST(DeviceMesh, ChecksPlacesAndNames) {
  DeviceMesh{}.check();
  DeviceMesh{{{.name = "ep_shard", .size = 3, .coordinate = 2}, {.name = "ep", .size = 4}}}.check();
  expect_refused({{{.name = "ep", .size = 4, .coordinate = 4}}}, "4");
  expect_refused({{{.name = "ep", .size = 4, .coordinate = -1}}}, "-1");
  expect_refused({{{.name = "ep", .size = -4}}}, "-4");
  expect_refused({{{.name = "ep", .size = 2}, {.name = "tp"}, {.name = "ep", .size = 2}}},
                 "'ep' twice");
}

}  // namespace
}  // namespace mxferry::internal
