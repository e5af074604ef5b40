#include "mxferry/tensor.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

template <typename Call>
ErrorCode code_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(Shape, IsWrittenInBrackets) {
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_EQ(to_string(Shape{7}), "[7]");
  EXPECT_EQ(to_string(Shape{2, 128, 4, 16}), "[2, 128, 4, 16]");
}

TEST(Shape, HasTheProductOfItsSizesAsElements) {
  EXPECT_EQ(element_count(Shape{}), 1);
  EXPECT_EQ(element_count(Shape{3, 0, 5}), 0);
  EXPECT_EQ(element_count(Shape{2, 128, 4, 16}), 16384);
  EXPECT_EQ(element_count(Shape{kMost}), kMost);
}

TEST(Shape, RefusesOverflowAndNegativeSizes) {
  EXPECT_EQ(code_of([] { element_count(Shape{kMost, 2}); }), ErrorCode::size_overflow);
  EXPECT_EQ(code_of([] { element_count(Shape{kMost, 2, 0}); }), ErrorCode::size_overflow);
  EXPECT_EQ(code_of([] { element_count(Shape{2, -1}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([] { element_count(Shape{0, -1}); }), ErrorCode::invalid_argument);
}

TEST(Tensor, IsEmptyByDefault) {
  const Tensor tensor;
  EXPECT_EQ(tensor.dtype(), DType::U8);
  EXPECT_EQ(tensor.shape(), Shape{0});
  EXPECT_EQ(tensor.byte_count(), 0u);
  EXPECT_EQ(tensor.use_count(), 0);
}

TEST(Tensor, EmptyHasTheBytesOfItsShape) {
  const Tensor tensor = Tensor::empty(DType::BF16, {3, 5});
  EXPECT_EQ(tensor.element_count(), 15);
  EXPECT_EQ(tensor.byte_count(), 30u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data()) % 64, 0u);
  EXPECT_EQ(Tensor::empty(DType::F32, {}).byte_count(), 4u);
  EXPECT_EQ(Tensor::empty(DType::F64, {0, 9}).byte_count(), 0u);
  EXPECT_EQ(Tensor::empty(DType::F4, {2, 3}).byte_count(), 3u);
}

TEST(Tensor, EmptyIsWritableToItsLastByte) {
  Tensor tensor = Tensor::empty(DType::U8, {(2 << 20) + 1});
  tensor.as<std::uint8_t>()[2 << 20] = 42;
  EXPECT_EQ(tensor.as<std::uint8_t>()[2 << 20], 42);
}

TEST(Tensor, EmptyRefusesImpossibleSizes) {
  EXPECT_EQ(code_of([] { Tensor::empty(DType::F4, {3}); }), ErrorCode::misaligned_size);
  EXPECT_EQ(code_of([] { Tensor::empty(DType::F64, {kMost}); }), ErrorCode::size_overflow);
  EXPECT_EQ(code_of([] { Tensor::empty(DType::U8, {-1}); }), ErrorCode::invalid_argument);
}

TEST(Tensor, CopiesShareTheStorageUntilTheLastIsGone) {
  const auto storage = std::make_shared<std::byte[]>(12);
  Tensor tensor = Tensor::wrap({storage, storage.get()}, DType::F32, {3});
  EXPECT_EQ(tensor.data(), storage.get());
  EXPECT_EQ(storage.use_count(), 2);
  Tensor copy = tensor;
  EXPECT_EQ(copy.data(), tensor.data());
  EXPECT_EQ(copy.use_count(), 3);
  tensor = Tensor();
  copy = Tensor();
  EXPECT_EQ(storage.use_count(), 1);
}

TEST(Tensor, WrapRefusesANullPointerForBytes) {
  EXPECT_EQ(code_of([] { Tensor::wrap(nullptr, DType::U8, {1}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(Tensor::wrap(nullptr, DType::BF16, {4, 0}).byte_count(), 0u);
}

RC_GTEST_PROP(Tensor, BytesAreElementsTimesBits, ()) {
  const auto sizes = *rc::gen::container<std::vector<std::uint8_t>>(rc::gen::inRange(0, 9));
  RC_PRE(sizes.size() < 6);
  const Shape shape(sizes.begin(), sizes.end());
  const Tensor tensor = Tensor::empty(DType::F16, shape);
  RC_ASSERT(tensor.byte_count() == static_cast<std::size_t>(element_count(shape)) * 2);
  RC_ASSERT(tensor.shape() == shape);
}

}  // namespace
}  // namespace mxferry::internal
