#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "mxfp4/decode.h"
#include "mxfp4/reference.h"
#include "tests/mxfp4/packed.h"

namespace mxferry::internal::mxfp4 {

namespace {

// Calls visit(index, block, scale) for every block, by row and then group.
template <typename Visit>
void for_each_block(const PackedView& packed, const Visit& visit) {
  for (std::size_t row = 0; row < packed.rows; ++row) {
    for (std::size_t group = 0; group < packed.groups; ++group) {
      visit(BlockIndex{row, group},
            packed.blocks + row * packed.block_row_bytes + group * kBlockBytes,
            packed.scales[row * packed.scale_row_bytes + group]);
    }
  }
}

bool is_finite(const std::uint8_t* block, std::uint8_t scale) {
  bool finite = true;
  for (int i = 0; i < kBlockSize; ++i) {
    finite = finite && std::isfinite(static_cast<float>(
                           reference::exact_value(scale, reference::code_at(block, i))));
  }
  return finite;
}

std::optional<BlockIndex> first_nonfinite(const PackedView& packed) {
  std::optional<BlockIndex> first;
  for_each_block(packed, [&](BlockIndex index, const std::uint8_t* block, std::uint8_t scale) {
    if (!first && !is_finite(block, scale)) first = index;
  });
  return first;
}

// By what FP16 makes of each weight: `half` is its pattern without the sign.
HalfLosses losses_weight_by_weight(const PackedView& packed) {
  HalfLosses losses;
  for_each_block(packed, [&](BlockIndex index, const std::uint8_t* block, std::uint8_t scale) {
    if (!is_finite(block, scale)) return;
    for (int i = 0; i < kBlockSize; ++i) {
      const double value = std::fabs(reference::exact_value(scale, reference::code_at(block, i)));
      const std::uint32_t half = reference::round_to(DType::F16, value);
      if (half == 0x7C00 && !losses.first_overflow) losses.first_overflow = index;
      if (half == 0 && value != 0) ++losses.flushed;
      if (value < 0x1p-14 && half * 0x1p-24 != value) ++losses.underflows;
    }
  });
  return losses;
}

Packed any_packed(int least, int most) {
  const auto below = [](std::size_t limit) { return *rc::gen::inRange<std::size_t>(0, limit); };
  const PackedShape shape{below(8), below(80), below(20), below(20)};
  Packed packed = random_packed(shape, least, most, below(1000000));
  // Small codes, so that not every block with a large scale overflows.
  if (*rc::gen::arbitrary<bool>()) {
    const auto mask = *rc::gen::element<std::uint8_t>(0x99, 0xBB, 0xDD);
    for (std::uint8_t& byte : packed.blocks) byte &= mask;
  }
  return packed;
}

RC_GTEST_PROP(NonfiniteBlock, IsTheFirstThatDecodesToOne, ()) {
  const int least = *rc::gen::element(0, 120, 250, 253, 254);
  const Packed packed = any_packed(least, *rc::gen::inRange(least, 256));
  RC_ASSERT(find_nonfinite_block(packed.view) == first_nonfinite(packed.view));
}

TEST(NonfiniteBlock, IsJudgedByEveryScaleAndCode) {
  for (int scale = 0; scale < 256; ++scale) {
    for (int code = 0; code < 16; ++code) {
      Packed packed = random_packed({.rows = 1, .groups = 1}, scale, scale, 1);
      packed.blocks.assign(kBlockBytes, 0);
      packed.blocks[11] = static_cast<std::uint8_t>(code << 4);
      packed.view.blocks = packed.blocks.data();
      EXPECT_EQ(find_nonfinite_block(packed.view), first_nonfinite(packed.view))
          << scale << ' ' << code;
    }
  }
}

RC_GTEST_PROP(HalfLosses, AreWhatFp16MakesOfEveryWeight, ()) {
  const int least = *rc::gen::inRange(0, 256);
  const Packed packed = any_packed(least, *rc::gen::inRange(least, 256));
  const HalfLosses expected = losses_weight_by_weight(packed.view);
  const HalfLosses actual = count_half_losses(packed.view);
  RC_ASSERT(actual.first_overflow == expected.first_overflow);
  RC_ASSERT(actual.underflows == expected.underflows);
  RC_ASSERT(actual.flushed == expected.flushed);
}

TEST(HalfLosses, AreRightForEveryScale) {
  for (int scale = 0; scale < 256; ++scale) {
    const Packed packed =
        random_packed({.rows = 2, .groups = 3}, scale, scale, static_cast<std::uint64_t>(scale));
    const HalfLosses expected = losses_weight_by_weight(packed.view);
    const HalfLosses actual = count_half_losses(packed.view);
    EXPECT_EQ(actual.first_overflow, expected.first_overflow) << scale;
    EXPECT_EQ(actual.underflows, expected.underflows) << scale;
    EXPECT_EQ(actual.flushed, expected.flushed) << scale;
  }
}

TEST(HalfLosses, AreNoneWhereFp16HoldsEveryProduct) {
  const HalfLosses losses =
      count_half_losses(random_packed({.rows = 20, .groups = 7}, 104, 140, 1).view);
  EXPECT_FALSE(losses.first_overflow);
  EXPECT_EQ(losses.underflows, 0u);
  EXPECT_EQ(losses.flushed, 0u);
}

}  // namespace
}  // namespace mxferry::internal::mxfp4
