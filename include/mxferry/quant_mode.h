#pragma once

#include <optional>
#include <string_view>

namespace mxferry {

// How a block of 32 weights becomes MXFP4. All modes round weights to the nearest of FP4_VALUES *
// scale, ties to the even code, and keep the sign of zeros; a weight beyond 6 * scale becomes 6 *
// scale ("saturates"). They differ in how they derive a block's scale from its largest magnitude.
enum class QuantMode {
  // The smallest power of two under which nothing saturates: what gpt-oss was published with
  // (triton_kernels, apart from scale 0). Equals torchao's RCEIL except for maxima of scale 0,
  // which torchao flushes, and for FP32 maxima within 2^-17 above 1.5 * 2^k, where its logarithm
  // rounds.
  gptoss,
  // 2^(floor(log2 max) - 2), as in OCP Microscaling v1.0, section 6.3: magnitudes between 6 and 8
  // times the scale saturate. Equals torchao's FLOOR above scale 0.
  ocp,
  // As ocp, for the maximum rounded to two significant bits: magnitudes between 6 and 7 times the
  // scale saturate. Equals torchao's EVEN above scale 0, and compressed-tensors' except for the
  // sign of zeros.
  even,
  // Of the scales that the other modes would choose, the one with the smallest sum of squared
  // errors over the block; gptoss's on a tie. Never worse than any other mode.
  best,
};

// "gptoss", "ocp", "even", "best".
std::string_view name(QuantMode mode) noexcept;
std::optional<QuantMode> parse_quant_mode(std::string_view name) noexcept;

}  // namespace mxferry
