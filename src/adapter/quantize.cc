#include <string>
#include <utility>

#include "adapter/packed_pair.h"
#include "base/parallel.h"
#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "mxfp4/encode.h"

namespace mxferry::internal {

namespace {

void check_dense(std::string_view name, const Tensor& dense) {
  if (is_dense_float(dense.dtype())) return;
  throw Error(ErrorCode::wrong_dtype, {.problem = "weights of this dtype cannot be quantized",
                                       .tensor = std::string(name),
                                       .expected = "BF16, F16 or F32",
                                       .found = std::string(mxferry::name(dense.dtype()))});
}

void check_reference(std::string_view name, const Tensor& scales, const Shape& expected) {
  if (scales.dtype() == DType::U8 && scales.shape() == expected) return;
  throw Error(
      scales.dtype() == DType::U8 ? ErrorCode::wrong_shape : ErrorCode::wrong_dtype,
      {.problem = "the reference's scales do not fit the weights",
       .tensor = std::string(name),
       .expected = "U8 " + to_string(expected),
       .found = std::string(mxferry::name(scales.dtype())) + " " + to_string(scales.shape())});
}

// Throws Error(nonfinite_weight) for the first weight that cannot be quantized, by expert.
void check_finite(std::string_view name, const mxfp4::DenseTensorView& tensor, QuantMode mode) {
  for (std::size_t expert = 0; expert < tensor.experts; ++expert) {
    const auto found = mxfp4::find_unencodable(mxfp4::expert_of(tensor, expert), {.mode = mode});
    if (!found) continue;
    throw Error(
        ErrorCode::nonfinite_weight,
        {.problem = "MXFP4 cannot hold a weight: expert " + std::to_string(expert) + ", row " +
                    std::to_string(found->row) + ", column " + std::to_string(found->column),
         .tensor = std::string(name),
         .expected = "a finite number below 1.75 * 2^127",
         .found = std::to_string(found->value)});
  }
}

}  // namespace

Shape packed_scales_shape(std::string_view name, const Shape& dense) {
  if (dense.size() != 3 || dense[1] % kBlockSize != 0) {
    throw Error(ErrorCode::wrong_shape,
                {.problem = "the weights of the experts cannot be packed in blocks",
                 .tensor = std::string(name),
                 .expected = "[experts, in, out] with `in` a multiple of 32",
                 .found = to_string(dense)});
  }
  return {dense[0], dense[2], dense[1] / kBlockSize};
}

GPTOSSStateDictAdapter::PackedTensors quantize_weights(std::string_view name, const Tensor& dense,
                                                       QuantMode mode,
                                                       const Tensor* reference_scales) {
  check_dense(name, dense);
  const Shape scales_shape = packed_scales_shape(name, dense.shape());
  if (reference_scales != nullptr) check_reference(name, *reference_scales, scales_shape);
  Shape blocks_shape = scales_shape;
  blocks_shape.push_back(kBlockBytes);
  GPTOSSStateDictAdapter::PackedTensors packed{Tensor::empty(DType::U8, std::move(blocks_shape)),
                                               Tensor::empty(DType::U8, scales_shape)};
  const mxfp4::DenseTensorView view{.data = dense.data(),
                                    .dtype = dense.dtype(),
                                    .order = mxfp4::Order::transposed,
                                    .experts = static_cast<std::size_t>(dense.shape()[0]),
                                    .rows = static_cast<std::size_t>(dense.shape()[2]),
                                    .columns = static_cast<std::size_t>(dense.shape()[1])};
  const std::uint8_t* reference =
      reference_scales == nullptr ? nullptr : reference_scales->as<std::uint8_t>();
  const mxfp4::EncodeCounts counts =
      mxfp4::encode_tensor(view, mode, reference, packed.blocks.as<std::uint8_t>(),
                           packed.scales.as<std::uint8_t>(), available_threads());
  if (counts.suspicious) check_finite(name, view, mode);
  return packed;
}

}  // namespace mxferry::internal

namespace mxferry {

using namespace internal;

GPTOSSStateDictAdapter::PackedTensors GPTOSSStateDictAdapter::quantize_moe_weights(
    const Tensor& weights, QuantMode mode, const Tensor* reference_scales) {
  return quantize_weights("weights", weights, mode, reference_scales);
}

}  // namespace mxferry
