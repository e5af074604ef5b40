#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdint>

#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "tests/adapter/state_dicts.h"

namespace mxferry::internal {
namespace {

using testing::bytes;
using testing::decoded;
using testing::same;

Tensor convert(const Tensor& blocks, const Tensor& scales, DType dtype = DType::BF16,
               std::int64_t rows_per_chunk = 1 << 25) {
  return GPTOSSStateDictAdapter::convert_moe_packed_tensors(blocks, scales, dtype, rows_per_chunk);
}

void expect_error(ErrorCode code, const Tensor& blocks, const Tensor& scales, DType dtype,
                  std::int64_t rows_per_chunk, const char* expected, const char* found) {
  try {
    convert(blocks, scales, dtype, rows_per_chunk);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_EQ(error.details().expected, expected);
    EXPECT_EQ(error.details().found, found);
  }
}

// Written down by hand: two rows of one block of one byte, two weights each.
TEST(ConvertMoePackedTensors, PutsTheLowNibbleFirstAndTransposes) {
  Tensor blocks = Tensor::empty(DType::U8, {1, 3, 1, 1});
  Tensor scales = Tensor::empty(DType::U8, {1, 3, 1});
  const std::uint8_t block_bytes[] = {0x21, 0xF8, 0x77};
  const std::uint8_t scale_bytes[] = {127, 128, 126};
  std::copy_n(block_bytes, 3, blocks.as<std::uint8_t>());
  std::copy_n(scale_bytes, 3, scales.as<std::uint8_t>());
  const Tensor dense = convert(blocks, scales, DType::F32);
  ASSERT_EQ(dense.shape(), (Shape{1, 2, 3}));
  const float expected[] = {0.5f, -0.0f, 3.0f, 1.0f, -12.0f, 3.0f};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(dense.as<float>()[i], expected[i]) << i;
  EXPECT_TRUE(std::signbit(dense.as<float>()[1]));
}

TEST(ConvertMoePackedTensors, DecodesEveryScaleWithEveryByte) {
  for (const std::int64_t block_bytes : {16, 4}) {
    const std::int64_t rows = 256 / block_bytes;
    Tensor blocks = Tensor::empty(DType::U8, {1, rows, 256, block_bytes});
    Tensor scales = Tensor::empty(DType::U8, {1, rows, 256});
    for (std::int64_t i = 0; i < blocks.element_count(); ++i) {
      const std::int64_t row = i / block_bytes / 256;
      blocks.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(row * block_bytes + i % block_bytes);
    }
    for (std::int64_t i = 0; i < scales.element_count(); ++i) {
      scales.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i % 256);
    }
    for (const DType dtype : {DType::BF16, DType::F16, DType::F32}) {
      EXPECT_TRUE(same(convert(blocks, scales, dtype), decoded(blocks, scales, dtype)))
          << block_bytes << " " << name(dtype);
    }
  }
}

TEST(ConvertMoePackedTensors, TheEndsOfTheScale) {
  Tensor blocks = Tensor::empty(DType::U8, {1, 4, 1, 1});
  Tensor scales = Tensor::empty(DType::U8, {1, 4, 1});
  const std::uint8_t scale_bytes[] = {0, 252, 254, 255};
  std::fill_n(blocks.as<std::uint8_t>(), 4, std::uint8_t{0x71});
  std::copy_n(scale_bytes, 4, scales.as<std::uint8_t>());
  const Tensor bf16 = convert(blocks, scales);
  EXPECT_EQ(bf16.as<std::uint16_t>()[0], 0x0020);      // 2^-128
  EXPECT_EQ(bf16.as<std::uint16_t>()[4 + 1], 0x7F40);  // 6 * 2^125
  EXPECT_EQ(bf16.as<std::uint16_t>()[2], 0x7E80);      // 2^126
  EXPECT_EQ(bf16.as<std::uint16_t>()[4 + 2], 0x7F80);  // 6 * 2^127: infinity
  EXPECT_TRUE(std::isnan(convert(blocks, scales, DType::F32).as<float>()[3]));
}

RC_GTEST_PROP(ConvertMoePackedTensors, IsTheDefinitionForAnyShapeAndChunk, ()) {
  const auto size = [] { return rc::gen::inRange<std::int64_t>(0, 7); };
  const std::int64_t block_bytes = *rc::gen::element<std::int64_t>(16, 16, 1, 2, 3, 8, 17, 0);
  const Shape shape = {*size(), *rc::gen::inRange<std::int64_t>(0, 70), *size(), block_bytes};
  const auto seed = *rc::gen::arbitrary<std::uint32_t>();
  const DType dtype = *rc::gen::element(DType::BF16, DType::F16, DType::F32);
  const std::int64_t chunk = *rc::gen::element<std::int64_t>(1, 4, 7, 1 << 25);
  const Tensor blocks = bytes(shape, seed);
  const Tensor scales = bytes({shape[0], shape[1], shape[2]}, seed + 1);
  RC_ASSERT(same(convert(blocks, scales, dtype, chunk), decoded(blocks, scales, dtype)));
}

TEST(ConvertMoePackedTensors, SaysWhatItExpects) {
  const Tensor blocks = bytes({2, 5, 3, 16}, 1);
  const Tensor scales = bytes({2, 5, 3}, 2);
  const DType bf16 = DType::BF16;
  expect_error(ErrorCode::wrong_shape, bytes({2, 5, 48}, 1), scales, bf16, 1,
               "[experts, out, groups, 16]", "[2, 5, 48]");
  expect_error(ErrorCode::wrong_shape, blocks, bytes({2, 3, 5}, 2), bf16, 1, "[2, 5, 3]",
               "[2, 3, 5]");
  expect_error(ErrorCode::wrong_shape, blocks, bytes({2, 5, 3, 1}, 2), bf16, 1, "[2, 5, 3]",
               "[2, 5, 3, 1]");
  expect_error(ErrorCode::wrong_dtype, Tensor::empty(DType::BF16, {2, 5, 3, 16}), scales, bf16, 1,
               "U8", "BF16");
  expect_error(ErrorCode::wrong_dtype, blocks, Tensor::empty(DType::F8_E8M0, {2, 5, 3}), bf16, 1,
               "U8", "F8_E8M0");
  expect_error(ErrorCode::invalid_argument, blocks, scales, DType::F64, 1, "BF16, F16 or F32",
               "F64");
  expect_error(ErrorCode::invalid_argument, blocks, scales, bf16, 0, "at least 1", "0");
}

TEST(ConvertMoePackedTensors, RefusesASizeThatCannotBe) {
  const std::int64_t huge = std::int64_t{1} << 60;
  const Tensor blocks = Tensor::wrap(nullptr, DType::U8, {0, 1, huge, 4});
  const Tensor scales = Tensor::wrap(nullptr, DType::U8, {0, 1, huge});
  EXPECT_THROW(convert(blocks, scales), Error);
}

}  // namespace
}  // namespace mxferry::internal
