#pragma once

// Include this before any Highway header. The kernels keep vectors in arrays, which scalable
// vectors do not allow, so ARM machines with SVE use NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
