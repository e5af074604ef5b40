#pragma once

// Before any Highway header. The kernels keep vectors in arrays, which vectors of unknown size do
// not allow: ARM machines with SVE use NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
