#include "mxfp4/reference.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace mxferry::internal::mxfp4 {
namespace {

using reference::exact_value;
using reference::round_to;

TEST(Reference, HasTheValuesOfTheFormat) {
  const double magnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (int code = 0; code < 8; ++code) {
    EXPECT_EQ(exact_value(127, code), magnitudes[code]);
    EXPECT_EQ(exact_value(127, code + 8), -magnitudes[code]);
    EXPECT_TRUE(std::signbit(exact_value(127, code + 8)));
    EXPECT_EQ(exact_value(130, code), 8 * magnitudes[code]);
    EXPECT_TRUE(std::isnan(exact_value(255, code)));
  }
  EXPECT_EQ(exact_value(0, 1), 0x1p-128);
  EXPECT_EQ(exact_value(254, 7), 0x1.8p129);
}

TEST(Reference, ReadsTheLowNibbleFirst) {
  const std::uint8_t block[16] = {0x21, 0x43};
  EXPECT_EQ(reference::code_at(block, 0), 1);
  EXPECT_EQ(reference::code_at(block, 1), 2);
  EXPECT_EQ(reference::code_at(block, 2), 3);
  EXPECT_EQ(reference::code_at(block, 3), 4);
}

TEST(Reference, RoundsToBf16) {
  EXPECT_EQ(round_to(DType::BF16, 0x1p-128), 0x0020u);
  EXPECT_EQ(round_to(DType::BF16, 0x1.8p127), 0x7F40u);
  EXPECT_EQ(round_to(DType::BF16, 0x1p128), 0x7F80u);
  EXPECT_EQ(round_to(DType::BF16, -0.0), 0x8000u);
  EXPECT_EQ(round_to(DType::BF16, 1 + 0x1p-8), 0x3F80u);  // a tie, to even
  EXPECT_EQ(round_to(DType::BF16, 1 + 0x3p-8), 0x3F82u);  // a tie, to even
  EXPECT_EQ(round_to(DType::BF16, 1 + 0x1p-8 + 0x1p-40), 0x3F81u);
}

TEST(Reference, RoundsToF16) {
  EXPECT_EQ(round_to(DType::F16, 65504), 0x7BFFu);
  EXPECT_EQ(round_to(DType::F16, 65519.99), 0x7BFFu);
  EXPECT_EQ(round_to(DType::F16, 65520), 0x7C00u);
  EXPECT_EQ(round_to(DType::F16, -0x1p-14), 0x8400u);
  EXPECT_EQ(round_to(DType::F16, 0x1p-24), 0x0001u);
  EXPECT_EQ(round_to(DType::F16, 0x1p-25), 0x0000u);  // a tie, to even
  EXPECT_EQ(round_to(DType::F16, 0x3p-25), 0x0002u);  // a tie, to even
  EXPECT_EQ(round_to(DType::F16, 0x1.01p-25), 0x0001u);
  EXPECT_EQ(round_to(DType::F16, 0x1.FFFp-15), 0x0400u);  // up into the normal range
}

TEST(Reference, RoundsToF32AsTheProcessorDoes) {
  for (const double value : {1.0, -2.5, 1 / 3.0, 1e-40, 1e-45, 3e38, 1e39, 0x1.FFFFFFp-127}) {
    EXPECT_EQ(round_to(DType::F32, value), std::bit_cast<std::uint32_t>(static_cast<float>(value)))
        << value;
  }
}

}  // namespace
}  // namespace mxferry::internal::mxfp4
