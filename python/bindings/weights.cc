#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <optional>
#include <string>

#include "arrays.h"
#include "bindings.h"
#include "mxferry/dequantize.h"
#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"

namespace mxferry::python {
namespace {

namespace nb = nanobind;
using namespace nb::literals;

nb::object lend(const Tensor& tensor, bool torch) {
  return torch ? to_torch(tensor) : to_numpy(tensor);
}

AxisOrder order_of(bool transpose) {
  return transpose ? AxisOrder::in_out : AxisOrder::out_in;
}

DType dense_dtype_named(const std::string& dtype) {
  const std::optional<DType> parsed = parse_dtype(dtype);
  if (parsed && is_dense_float(*parsed)) return *parsed;
  throw Error(ErrorCode::invalid_argument, {.problem = "weights are not decoded to this dtype",
                                            .expected = "bfloat16, float16 or float32",
                                            .found = dtype});
}

nb::object dequantize_new(const ReadOnlyArray& blocks, const ReadOnlyArray& scales,
                          const std::string& dtype, bool transpose, bool torch) {
  const DType parsed = dense_dtype_named(dtype);
  const Tensor borrowed_blocks = borrow(blocks, "blocks");
  const Tensor borrowed_scales = borrow(scales, "scales");
  Tensor dense;
  {
    const nb::gil_scoped_release released;
    dense = dequantize(borrowed_blocks, borrowed_scales, parsed, order_of(transpose));
  }
  return lend(dense, torch);
}

void dequantize_out(const ReadOnlyArray& blocks, const ReadOnlyArray& scales, bool transpose,
                    const AnyArray& out) {
  const Tensor borrowed_blocks = borrow(blocks, "blocks");
  const Tensor borrowed_scales = borrow(scales, "scales");
  Tensor dense = borrow(out, "out");
  const nb::gil_scoped_release released;
  dequantize_into(borrowed_blocks, borrowed_scales, order_of(transpose), dense);
}

nb::tuple quantize(const ReadOnlyArray& weight, const std::string& mode,
                   const std::optional<ReadOnlyArray>& reference_scales, bool torch) {
  const std::optional<QuantMode> parsed = parse_quant_mode(mode);
  if (!parsed) {
    throw Error(ErrorCode::invalid_argument, {.problem = "there is no such way to quantize",
                                              .expected = "gptoss, ocp, even or best",
                                              .found = mode});
  }
  const Tensor dense = borrow(weight, "weight");
  std::optional<Tensor> reference;
  if (reference_scales) reference = borrow(*reference_scales, "reference_scales");
  GPTOSSStateDictAdapter::PackedTensors packed;
  {
    const nb::gil_scoped_release released;
    packed = GPTOSSStateDictAdapter::quantize_moe_weights(dense, *parsed,
                                                          reference ? &*reference : nullptr);
  }
  return nb::make_tuple(lend(packed.blocks, torch), lend(packed.scales, torch));
}

// New memory, on huge pages if it is large, as an array of bytes.
nb::object empty(std::int64_t bytes, bool torch) {
  return lend(Tensor::empty(DType::U8, {bytes}), torch);
}

}  // namespace

void bind_weights(nb::module_& m) {
  m.def("empty", &empty, "bytes"_a, "torch"_a,
        nb::sig("def empty(bytes: int, torch: bool) -> typing.Any"));
  m.def("dequantize", &dequantize_new, "blocks"_a, "scales"_a, "dtype"_a, "transpose"_a, "torch"_a);
  m.def("dequantize_into", &dequantize_out, "blocks"_a, "scales"_a, "transpose"_a,
        "out"_a.noconvert());
  m.def("quantize", &quantize, "weight"_a, "mode"_a, "reference_scales"_a.none(), "torch"_a);
}

}  // namespace mxferry::python
