#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string_view>

#include "mxferry/tensor.h"

namespace mxferry::python {

// Any array that can be borrowed through DLPack or the buffer protocol.
using AnyArray = nanobind::ndarray<>;
using ReadOnlyArray = nanobind::ndarray<nanobind::ro>;

// The array's memory as a Tensor, which must not outlive the array. 16-bit unsigned integers are
// taken as BF16, because numpy without ml_dtypes holds it as these. Throws Error: unsupported
// (memory of another device), wrong_dtype (safetensors has no such dtype), wrong_shape (the array
// has gaps); `name` is for messages.
Tensor borrow(const ReadOnlyArray& array, std::string_view name);
Tensor borrow(const AnyArray& array, std::string_view name);

// The tensor as a numpy array or a torch tensor that keeps its memory alive. numpy gets BF16 as
// 16-bit unsigned integers.
nanobind::object to_numpy(const Tensor& tensor);
nanobind::object to_torch(const Tensor& tensor);

}  // namespace mxferry::python
