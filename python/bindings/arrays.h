#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string_view>

#include "mxferry/tensor.h"

namespace mxferry::python {

// Any array that DLPack or the buffer protocol can lend.
using AnyArray = nanobind::ndarray<>;
using ReadOnlyArray = nanobind::ndarray<nanobind::ro>;

// The array's memory as a Tensor, which must not outlive it. 16-bit unsigned integers are BF16:
// that is how numpy holds it without ml_dtypes. Throws Error(unsupported) for memory of another
// device, Error(wrong_dtype) for a dtype that safetensors does not have, Error(wrong_shape) where
// the array has gaps; `name` is for messages.
Tensor borrow(const ReadOnlyArray& array, std::string_view name);
Tensor borrow(const AnyArray& array, std::string_view name);

// The tensor as a numpy array or a torch tensor, which keeps its memory alive. numpy gets BF16 as
// 16-bit unsigned integers.
nanobind::object to_numpy(const Tensor& tensor);
nanobind::object to_torch(const Tensor& tensor);

}  // namespace mxferry::python
