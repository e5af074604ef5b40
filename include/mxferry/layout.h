#pragma once

#include <optional>
#include <string_view>

#include "mxferry/dtype.h"

namespace mxferry {

// The convention for a gpt-oss checkpoint's tensor names and axis orders.
enum class Layout {
  hf,    // Hugging Face transformers: MXFP4 (`..._blocks`, `..._scales`) or dense experts [E, in,
         // out]
  nemo,  // NeMo AutoModel's native names, always dense
  original,    // OpenAI's release: fused qkv, MXFP4 or dense experts [E, out, in]
  torchtitan,  // torchtitan's native names, always dense, experts [E, out, in]
  unsloth,     // unsloth's 16-bit models: always dense, a tensor [out, in] for each expert
  mlx,         // MLX: MXFP4 or dense experts [E, out, in], gate and up apart
  // compressed-tensors: MXFP4 or dense, a tensor [out, in] for each expert, gate and up apart
  compressed_tensors,
};

// How the experts' weights are stored; the dense codecs are also the dtypes of all other
// parameters.
enum class Codec { bf16, f16, f32, mxfp4 };

// How a matrix is stored. A weight is logically [out, in]; in_out is its transpose.
enum class AxisOrder { out_in, in_out };

constexpr AxisOrder flipped(AxisOrder order) noexcept {
  return order == AxisOrder::out_in ? AxisOrder::in_out : AxisOrder::out_in;
}

// Their names on the command line, for example "original", "mxfp4".
std::string_view name(Layout layout) noexcept;
std::string_view name(Codec codec) noexcept;
std::string_view name(AxisOrder order) noexcept;
std::optional<Layout> parse_layout(std::string_view name) noexcept;
std::optional<Codec> parse_codec(std::string_view name) noexcept;
std::optional<AxisOrder> parse_axis_order(std::string_view name) noexcept;

// BF16, F16 or F32; nullopt for mxfp4.
std::optional<DType> dense_dtype(Codec codec) noexcept;
// The inverse; nullopt for a dtype in which weights are not stored.
std::optional<Codec> dense_codec(DType dtype) noexcept;

}  // namespace mxferry
