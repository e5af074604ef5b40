#pragma once

#include <cstdint>

#include "mxfp4/encode.h"

namespace mxferry::internal::mxfp4 {

// Which way the blocks ran of which dense weights were decoded.
enum class Fingerprint : std::uint8_t {
  along_input,  // 32 neighbours in a row are values of E2M1 times one power of two
  along_rows,   // so are 32 neighbours in a column: the matrix is the transpose of what it is taken
                // for
  unknown,      // neither, or both: never packed, trained since, or all alike
};

// Looks at the aligned runs of 32 weights in both directions. Decoded weights are all exact along
// the one in which they were quantized, and not all along the other, because neighbouring blocks
// have different scales. A few hundred runs each way suffice: rows and columns are those of a
// sample whose first weight begins a block.
Fingerprint fingerprint(const DenseView& sample) noexcept;

}  // namespace mxferry::internal::mxfp4
