#include "mxferry/dequantize.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "mxferry/error.h"
#include "tests/adapter/state_dicts.h"

namespace mxferry::internal {
namespace {

using testing::decoded;
using testing::same;

struct Pair {
  Tensor blocks;
  Tensor scales;
};

Pair wild_pair(std::int64_t block_bytes) {
  Pair pair{Tensor::empty(DType::U8, {2, 5, 3, block_bytes}), Tensor::empty(DType::U8, {2, 5, 3})};
  for (std::int64_t i = 0; i < pair.blocks.element_count(); ++i) {
    pair.blocks.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37 + i / 256);
  }
  for (std::int64_t i = 0; i < pair.scales.element_count(); ++i) {
    pair.scales.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 9);
  }
  return pair;
}

// [experts, out, in] of [experts, in, out].
Tensor transposed(const Tensor& dense) {
  const Shape& shape = dense.shape();
  Tensor result = Tensor::empty(dense.dtype(), {shape[0], shape[2], shape[1]});
  const std::int64_t size = bits(dense.dtype()) / 8;
  for (std::int64_t i = 0; i < dense.element_count(); ++i) {
    const std::int64_t row = i / shape[2] % shape[1];
    const std::int64_t expert = i / (shape[1] * shape[2]);
    const std::int64_t place = (expert * shape[2] + i % shape[2]) * shape[1] + row;
    std::memcpy(result.data() + place * size, dense.data() + i * size, size);
  }
  return result;
}

TEST(Dequantize, BothOrdersHoldTheSameWeights) {
  for (const std::int64_t block_bytes : {16, 3}) {
    const auto [blocks, scales] = wild_pair(block_bytes);
    for (const DType dtype : {DType::BF16, DType::F16, DType::F32}) {
      const Tensor expected = decoded(blocks, scales, dtype);
      EXPECT_TRUE(same(dequantize(blocks, scales, dtype), expected)) << block_bytes;
      EXPECT_TRUE(same(dequantize(blocks, scales, dtype, AxisOrder::out_in), transposed(expected)))
          << block_bytes;
    }
  }
}

TEST(Dequantize, IntoMemoryThatIsThere) {
  const auto [blocks, scales] = wild_pair(16);
  Tensor out = Tensor::empty(DType::F32, {2, 96, 5});
  dequantize_into(blocks, scales, AxisOrder::in_out, out);
  EXPECT_TRUE(same(out, decoded(blocks, scales, DType::F32)));
  try {
    dequantize_into(blocks, scales, AxisOrder::out_in, out);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::wrong_shape);
    EXPECT_EQ(error.details().expected, "[2, 5, 96]");
    EXPECT_EQ(error.details().found, "[2, 96, 5]");
  }
  Tensor bytes = Tensor::empty(DType::U8, {2, 96, 5});
  EXPECT_THROW(dequantize_into(blocks, scales, AxisOrder::in_out, bytes), Error);
}

}  // namespace
}  // namespace mxferry::internal
