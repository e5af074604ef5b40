#pragma once

#include "mxferry/dtype.h"
#include "mxferry/layout.h"
#include "mxferry/tensor.h"

namespace mxferry {

// Decodes MXFP4 blocks [experts, out, groups, B] and scales [experts, out, groups], both U8
// (mxferry/mxfp4.h), into new memory: [experts, in, out] for AxisOrder::in_out and [experts, out,
// in] for out_in, with in = groups * B * 2. B = 16 is fast; any other B works. BF16 and F32 are
// exact, F16 is rounded to nearest even. Scale 255 is NaN. Throws Error: wrong_dtype, wrong_shape,
// size_overflow, not_enough_memory, and invalid_argument for a dtype other than BF16, F16 and F32.
Tensor dequantize(const Tensor& blocks, const Tensor& scales, DType dtype = DType::BF16,
                  AxisOrder order = AxisOrder::in_out);

// The same into existing memory, in the dtype of `out`. Also throws Error(wrong_shape) if `out`
// does not have the shape.
void dequantize_into(const Tensor& blocks, const Tensor& scales, AxisOrder order, Tensor& out);

}  // namespace mxferry
