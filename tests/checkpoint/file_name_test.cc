#include "checkpoint/file_name.h"

#include <gtest/gtest.h>

#include <string>

namespace mxferry::internal {
namespace {

TEST(StaysBelow, IsTrueOfNamesWithinTheFolder) {
  for (const char* name : {"a", "a/b", ".hidden", "..a", "a..", "a b\n", "...", "a/.../b"}) {
    EXPECT_TRUE(stays_below(name)) << name;
  }
}

TEST(StaysBelow, IsFalseOfEverythingElse) {
  for (const char* name : {"", ".", "..", "/", "/a", "a/", "a//b", "../a", "a/..", "a/./b"}) {
    EXPECT_FALSE(stays_below(name)) << name;
  }
  EXPECT_FALSE(stays_below(std::string("a\0b", 3)));
}

}  // namespace
}  // namespace mxferry::internal
