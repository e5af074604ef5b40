#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "dense/targets.h"
//
#include "hwy/highway.h"
#include "hwy/targets.h"

namespace mxferry::internal {

// A test that runs once for every instruction set that was compiled and that this machine has.
// Define with TEST_P(Suite, Name) on a type of its own, and MXFERRY_EACH_TARGET(Suite).
class EachTarget : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};

inline std::string target_name(const testing::TestParamInfo<std::int64_t>& info) {
  return hwy::TargetName(info.param);
}

}  // namespace mxferry::internal

#define MXFERRY_EACH_TARGET(suite)                                                                 \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()), \
                           ::mxferry::internal::target_name)
