#pragma once

#include <array>

namespace mxferry {

// MXFP4 as gpt-oss checkpoints store it (OCP Microscaling v1.0; nibble order as in openai/gpt-oss
// weights.py): 32 consecutive weights of the input dimension of one output row form a block of 16
// bytes with one scale byte. Byte j holds weight 2j in its low nibble and weight 2j + 1 in its high
// nibble. A nibble indexes FP4_VALUES: bit 3 is the sign, bits 2-0 the magnitude. The scale is
// E8M0: the block's weights are FP4_VALUES[nibble] * 2^(scale - 127). Scale 0 is 2^-127, scale 255
// is NaN, and with scales 253 and 254 the larger values overflow to infinity.
inline constexpr int kBlockSize = 32;   // weights in a block
inline constexpr int kBlockBytes = 16;  // bytes in a block
inline constexpr int kScaleBias = 127;

// The E2M1 values by code. Code 8 is negative zero.
inline constexpr std::array<float, 16> FP4_VALUES = {+0.0f, +0.5f, +1.0f, +1.5f, +2.0f, +3.0f,
                                                     +4.0f, +6.0f, -0.0f, -0.5f, -1.0f, -1.5f,
                                                     -2.0f, -3.0f, -4.0f, -6.0f};

// The name of the instruction set that the kernels use on this machine, for example "AVX2".
const char* active_target() noexcept;

}  // namespace mxferry
