#include "mxferry/tensor.h"

#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/memory.h"
#include "mxferry/error.h"

namespace mxferry {

using namespace internal;

namespace {

[[noreturn]] void fail_overflow(const Shape& shape) {
  throw Error(ErrorCode::size_overflow,
              {.problem = "the shape has more elements than memory can ever hold",
               .expected = "fewer than 2^63",
               .found = to_string(shape)});
}

std::size_t byte_count_of(DType dtype, const Shape& shape) {
  const auto elements = static_cast<std::uint64_t>(element_count(shape));
  const std::optional<std::uint64_t> bit_count =
      checked_multiply(elements, static_cast<std::uint64_t>(bits(dtype)));
  if (!bit_count) fail_overflow(shape);
  if (*bit_count % 8 != 0) {
    throw Error(ErrorCode::misaligned_size,
                {.problem = "the last byte of the tensor is not full",
                 .expected = "a whole number of bytes of " + std::string(name(dtype)),
                 .found = to_string(shape) + ", " + std::to_string(*bit_count) + " bits"});
  }
  return *bit_count / 8;
}

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0) {
      throw Error(ErrorCode::invalid_argument, {.problem = "a dimension has a negative size",
                                                .expected = "sizes of at least 0",
                                                .found = to_string(shape)});
    }
    if (__builtin_mul_overflow(count, size, &count)) fail_overflow(shape);
  }
  return count;
}

Tensor Tensor::empty(DType dtype, Shape shape) {
  const std::size_t size = byte_count_of(dtype, shape);
  return wrap(allocate_bytes(size), dtype, std::move(shape));
}

Tensor Tensor::wrap(std::shared_ptr<std::byte> storage, DType dtype, Shape shape) {
  Tensor tensor;
  tensor.byte_count_ = byte_count_of(dtype, shape);
  tensor.element_count_ = mxferry::element_count(shape);
  if (storage == nullptr && tensor.byte_count_ > 0) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "a tensor cannot wrap a null pointer",
                 .expected = std::to_string(tensor.byte_count_) + " bytes for " + to_string(shape),
                 .found = "no storage"});
  }
  tensor.storage_ = std::move(storage);
  tensor.dtype_ = dtype;
  tensor.shape_ = std::move(shape);
  return tensor;
}

}  // namespace mxferry
