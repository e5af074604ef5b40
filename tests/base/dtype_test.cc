#include "mxferry/dtype.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>

namespace mxferry::internal::testing {
namespace {

TEST(DType, NamesComeBackTheSame) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(DType::U64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(name(dtype)), dtype) << name(dtype);
    names.insert(name(dtype));
  }
  EXPECT_EQ(names.size(), 22u);
}

TEST(DType, KnowsNoOtherName) {
  for (const char* text : {"", "bf16", "BF16 ", "F8", "float32"}) {
    EXPECT_EQ(parse_dtype(text), std::nullopt) << text;
  }
}

TEST(DType, HasItsBits) {
  EXPECT_EQ(bits(DType::F4), 4);
  EXPECT_EQ(bits(DType::F6_E3M2), 6);
  EXPECT_EQ(bits(DType::BOOL), 8);
  EXPECT_EQ(bits(DType::BF16), 16);
  EXPECT_EQ(bits(DType::F32), 32);
  EXPECT_EQ(bits(DType::C64), 64);
}

TEST(DType, IsDenseWhereItIsAFloatOf16Or32Bits) {
  for (int i = 0; i <= static_cast<int>(DType::U64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(is_dense_float(dtype),
              dtype == DType::BF16 || dtype == DType::F16 || dtype == DType::F32)
        << name(dtype);
  }
}

}  // namespace
}  // namespace mxferry::internal::testing
