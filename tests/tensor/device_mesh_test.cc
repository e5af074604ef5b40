#include "mxferry/device_mesh.h"

#include <gtest/gtest.h>

#include "mxferry/error.h"

namespace mxferry {
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

}  // namespace
}  // namespace mxferry
