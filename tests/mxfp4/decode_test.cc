#include "mxfp4/decode.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <memory>
#include <new>
#include <vector>

#include "mxfp4/reference.h"
#include "tests/each_target.h"
#include "tests/mxfp4/packed.h"

namespace mxferry::internal::mxfp4 {
namespace {

constexpr std::array kDtypes = {DType::BF16, DType::F16, DType::F32};
constexpr std::array kOrders = {Order::rows, Order::transposed};
constexpr std::array kStores = {Stores::cached, Stores::streaming};
constexpr std::align_val_t kLine{64};

// Memory whose first byte lies `offset` bytes after a cache line, and whose last byte is the last
// that may be written. Filled with a pattern.
class Output {
 public:
  Output(std::size_t size, std::size_t offset)
      : size_(size),
        offset_(offset),
        memory_(static_cast<std::byte*>(operator new(size + offset, kLine))) {
    std::fill_n(memory_.get(), size + offset, std::byte{0xA5});
  }
  std::byte* data() { return memory_.get() + offset_; }
  std::vector<std::byte> bytes() const { return {memory_.get(), memory_.get() + offset_ + size_}; }

 private:
  struct Delete {
    void operator()(std::byte* memory) const { operator delete(memory, kLine); }
  };
  std::size_t size_;
  std::size_t offset_;
  std::unique_ptr<std::byte, Delete> memory_;
};

struct Target {
  DType dtype = DType::BF16;
  Order order = Order::rows;
  Stores stores = Stores::cached;
  std::size_t offset = 0;   // in elements, from a cache line
  std::size_t row_gap = 0;  // in elements, between rows of the output
};

// Decodes with the kernels and with the reference, and returns whether all bytes are the same: the
// weights, NaN included, what lies between the rows and what lies before them.
bool agrees_with_reference(const PackedView& packed, const Target& target) {
  const bool transposed = target.order == Order::transposed;
  const std::size_t columns = packed.groups * kBlockSize;
  const std::size_t out_rows = transposed ? columns : packed.rows;
  const std::size_t stride = (transposed ? packed.rows : columns) + target.row_gap;
  const std::size_t size = static_cast<std::size_t>(bits(target.dtype)) / 8;
  const std::size_t used = out_rows == 0 ? 0 : out_rows * stride - target.row_gap;
  Output actual(used * size, target.offset * size);
  Output expected(used * size, target.offset * size);
  if (transposed) {
    decode_transposed(packed, target.dtype, actual.data(), stride, target.stores);
    reference::decode_transposed(packed, target.dtype, expected.data(), stride);
  } else {
    decode_rows(packed, target.dtype, actual.data(), stride, target.stores);
    reference::decode_rows(packed, target.dtype, expected.data(), stride);
  }
  return actual.bytes() == expected.bytes();
}

void expect_agreement_in_every_way(const PackedView& packed) {
  for (const DType dtype : kDtypes) {
    for (const Order order : kOrders) {
      for (const Stores stores : kStores) {
        EXPECT_TRUE(
            agrees_with_reference(packed, {.dtype = dtype, .order = order, .stores = stores}))
            << name(dtype) << (order == Order::rows ? " rows" : " transposed")
            << (stores == Stores::cached ? " cached" : " streaming");
      }
    }
  }
}

class Decode : public EachTarget {};
MXFERRY_EACH_TARGET(Decode);

TEST_P(Decode, RunsOnTheTargetOfTheTest) {
  EXPECT_STREQ(active_target(), hwy::TargetName(GetParam()));
}

TEST_P(Decode, IsExactForEveryScaleAndCode) {
  // Row = scale; every code twice, at another place in every row.
  Packed packed = random_packed({.rows = 256, .groups = 1}, 0, 255, 1);
  for (std::size_t row = 0; row < 256; ++row) {
    packed.scales[row] = static_cast<std::uint8_t>(row);
    for (std::size_t i = 0; i < kBlockBytes; ++i) {
      const std::size_t code = (2 * i + row) % 16;
      packed.blocks[row * kBlockBytes + i] = static_cast<std::uint8_t>(code | (code + 1) % 16 << 4);
    }
  }
  expect_agreement_in_every_way(packed.view);
}

TEST_P(Decode, MixesEveryScaleInEveryTile) {
  expect_agreement_in_every_way(random_packed({.rows = 416, .groups = 3}, 0, 255, 2).view);
}

TEST_P(Decode, CrossesStripes) {
  expect_agreement_in_every_way(random_packed({.rows = 300, .groups = 5}, 114, 140, 3).view);
}

TEST_P(Decode, HandlesEveryNumberOfGroups) {
  for (std::size_t groups = 0; groups <= 35; ++groups) {
    expect_agreement_in_every_way(
        random_packed({.rows = 70, .groups = groups, .scale_row_gap = 1}, 114, 140, groups).view);
  }
}

// One scale just outside of the range that the usual tiles take, among others just inside.
TEST_P(Decode, ChangesToTheExactTilesWhereItMust) {
  for (const int edge : {2, 114, 140, 252}) {
    for (const int step : {-1, 0, 1}) {
      Packed packed = random_packed({.rows = 96, .groups = 2}, edge, edge, 6);
      packed.scales[2 * 37] = static_cast<std::uint8_t>(edge + step);
      expect_agreement_in_every_way(packed.view);
    }
  }
}

TEST_P(Decode, HandlesEveryRemainderOfRows) {
  for (std::size_t rows = 0; rows <= 129; ++rows) {
    expect_agreement_in_every_way(random_packed({.rows = rows, .groups = 2}, 0, 255, rows).view);
  }
}

TEST_P(Decode, AgreesWithTheReferenceAtAnyAlignmentAndStride) {
  EXPECT_TRUE(rc::check([] {
    const auto below = [](std::size_t limit) { return *rc::gen::inRange<std::size_t>(0, limit); };
    const PackedShape shape{below(130), below(6), below(40), below(40)};
    const int least = *rc::gen::inRange(0, 256);
    const int most = *rc::gen::inRange(least, 256);
    const Packed packed = random_packed(shape, least, most, below(1000000));
    // Half of the outputs are such that whole lines can be written past the cache.
    const bool aligned = *rc::gen::arbitrary<bool>();
    Target target;
    target.dtype = *rc::gen::elementOf(kDtypes);
    target.order = *rc::gen::elementOf(kOrders);
    target.stores = *rc::gen::elementOf(kStores);
    target.offset = aligned ? below(3) * 32 : below(70);
    target.row_gap = aligned ? (32 - shape.rows % 32) % 32 : below(70);
    if (aligned && target.order == Order::rows) target.row_gap = below(3) * 32;
    RC_ASSERT(agrees_with_reference(packed.view, target));
  }));
}

TEST_P(Decode, DecodesATensorOnAnyNumberOfThreads) {
  constexpr std::size_t kExperts = 3;
  constexpr std::size_t kRows = 2080;
  constexpr std::size_t kGroups = 2;
  const Packed packed = random_packed({.rows = kExperts * kRows, .groups = kGroups}, 0, 255, 5);
  const PackedTensorView tensor{packed.view.blocks, packed.view.scales, kExperts, kRows, kGroups};
  const std::size_t elements = kRows * kGroups * kBlockSize;
  for (const Order order : kOrders) {
    std::vector<std::uint16_t> expected(kExperts * elements);
    for (std::size_t expert = 0; expert < kExperts; ++expert) {
      PackedView view = packed.view;
      view.blocks += expert * kRows * view.block_row_bytes;
      view.scales += expert * kRows * view.scale_row_bytes;
      view.rows = kRows;
      auto* out = reinterpret_cast<std::byte*>(expected.data() + expert * elements);
      if (order == Order::rows) {
        reference::decode_rows(view, DType::BF16, out, kGroups * kBlockSize);
      } else {
        reference::decode_transposed(view, DType::BF16, out, kRows);
      }
    }
    for (const int threads : {1, 2, 5}) {
      std::vector<std::uint16_t> actual(kExperts * elements);
      decode_tensor(tensor, DType::BF16, order, reinterpret_cast<std::byte*>(actual.data()),
                    threads);
      EXPECT_EQ(actual, expected) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace mxferry::internal::mxfp4
