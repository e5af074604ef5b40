#pragma once

#include <cstdint>

#include "mxfp4/encode.h"

namespace mxferry::internal::mxfp4 {

// The direction of the blocks from which dense weights were decoded.
enum class Fingerprint : std::uint8_t {
  along_input,  // 32 neighbors in a row are values of E2M1 times one power of two
  along_rows,   // 32 neighbors in a column are: the matrix is the transpose of what it is taken for
  unknown,      // neither, or both: never packed, trained since, or all blocks alike
};

// Examines the aligned runs of 32 weights in both directions. Decoded weights are all exact in the
// direction in which they were quantized, but not all in the other, because neighboring blocks have
// different scales. A few hundred runs each way suffice. The sample's first weight must begin a
// block.
Fingerprint fingerprint(const DenseView& sample) noexcept;

}  // namespace mxferry::internal::mxfp4
