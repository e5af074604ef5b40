// What libFuzzer calls; MXFERRY_FUZZ_TARGET is the name of one target.
#include <cstddef>
#include <cstdint>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mxferry::internal::fuzz::MXFERRY_FUZZ_TARGET({data, size});
  return 0;
}
