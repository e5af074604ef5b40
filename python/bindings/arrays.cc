#include "arrays.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mxferry/error.h"

namespace mxferry::python {
namespace {

namespace nb = nanobind;
using Code = nb::dlpack::dtype_code;

std::optional<DType> from_dlpack(nb::dlpack::dtype dtype) {
  const auto is = [&](Code code, int bits) {
    return dtype.code == static_cast<std::uint8_t>(code) && dtype.bits == bits && dtype.lanes == 1;
  };
  if (is(Code::UInt, 8)) return DType::U8;
  if (is(Code::Bfloat, 16) || is(Code::UInt, 16)) return DType::BF16;
  if (is(Code::Float, 16)) return DType::F16;
  if (is(Code::Float, 32)) return DType::F32;
  if (is(Code::Float, 64)) return DType::F64;
  if (is(Code::Int, 8)) return DType::I8;
  if (is(Code::Int, 16)) return DType::I16;
  if (is(Code::Int, 32)) return DType::I32;
  if (is(Code::Int, 64)) return DType::I64;
  if (is(Code::Bool, 8)) return DType::BOOL;
  return std::nullopt;
}

nb::dlpack::dtype to_dlpack(DType dtype) {
  const auto make = [&](Code code) {
    return nb::dlpack::dtype{static_cast<std::uint8_t>(code),
                             static_cast<std::uint8_t>(bits(dtype)), 1};
  };
  if (dtype == DType::U8) return make(Code::UInt);
  return make(dtype == DType::BF16 ? Code::Bfloat : Code::Float);
}

template <typename Array>
bool has_no_gaps(const Array& array) {
  if (array.size() == 0) return true;
  std::int64_t step = 1;
  for (std::size_t i = array.ndim(); i-- > 0;) {
    if (array.shape(i) > 1 && array.stride(i) != step) return false;
    step *= static_cast<std::int64_t>(array.shape(i));
  }
  return true;
}

template <typename Array>
Tensor borrow_any(const Array& array, std::string_view name) {
  if (array.device_type() != nb::device::cpu::value) {
    throw Error(ErrorCode::unsupported, {.problem = "the memory is not the CPU's",
                                         .tensor = std::string(name),
                                         .expected = "an array or a tensor on the CPU"});
  }
  const nb::dlpack::dtype raw = array.dtype();
  const std::optional<DType> dtype = from_dlpack(raw);
  if (!dtype) {
    throw Error(ErrorCode::wrong_dtype, {.problem = "no weights are stored in this dtype",
                                         .tensor = std::string(name),
                                         .found = "DLPack type code " + std::to_string(raw.code) +
                                                  " of " + std::to_string(raw.bits) + " bits"});
  }
  Shape shape;
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(static_cast<std::int64_t>(array.shape(i)));
  }
  if (!has_no_gaps(array)) {
    throw Error(ErrorCode::wrong_shape, {.problem = "the array is not contiguous",
                                         .tensor = std::string(name),
                                         .expected = "row-major memory without gaps",
                                         .found = "strides that leave gaps"});
  }
  // Not freed here: the caller holds the array. Inputs are only read, which Tensor cannot express.
  auto* data = static_cast<std::byte*>(const_cast<void*>(static_cast<const void*>(array.data())));
  return Tensor::wrap(std::shared_ptr<std::byte>(data, [](std::byte*) {}), *dtype,
                      std::move(shape));
}

// A capsule that keeps the tensor's memory alive while a Python array uses it.
nb::capsule owner_of(const Tensor& tensor) {
  return nb::capsule(new Tensor(tensor),
                     [](void* pointer) noexcept { delete static_cast<Tensor*>(pointer); });
}

template <typename Framework>
nb::object lend(const Tensor& tensor, nb::dlpack::dtype dtype) {
  const std::vector<std::size_t> shape(tensor.shape().begin(), tensor.shape().end());
  void* data = const_cast<std::byte*>(tensor.data());
  const nb::ndarray<Framework> array(data, shape.size(), shape.data(), owner_of(tensor), nullptr,
                                     dtype, nb::device::cpu::value, 0);
  return nb::cast(array, nb::rv_policy::reference);
}

}  // namespace

Tensor borrow(const ReadOnlyArray& array, std::string_view name) {
  return borrow_any(array, name);
}
Tensor borrow(const AnyArray& array, std::string_view name) {
  return borrow_any(array, name);
}

nb::object to_numpy(const Tensor& tensor) {
  if (tensor.dtype() == DType::BF16) return lend<nb::numpy>(tensor, nb::dtype<std::uint16_t>());
  return lend<nb::numpy>(tensor, to_dlpack(tensor.dtype()));
}

nb::object to_torch(const Tensor& tensor) {
  return lend<nb::pytorch>(tensor, to_dlpack(tensor.dtype()));
}

}  // namespace mxferry::python
