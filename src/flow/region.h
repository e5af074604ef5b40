#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

#include "flow/source.h"
#include "mxferry/dtype.h"
#include "mxferry/tensor.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// A box of what a recipe fills, and the memory that it goes to.
struct RegionRead {
  const Recipe* recipe = nullptr;  // any but `encode`
  // Of what the recipe fills: a tensor, or its rows of a fused one. Of `decode` and `transpose` it
  // is [experts, in, out] or [experts, out, in].
  Shape shape;
  Shape begin, extent;
  std::byte* data = nullptr;
  std::vector<std::int64_t> strides;  // in elements; the last is 1
  // Of a stored element where the bytes move as they are or are cast, and of one in memory: two of
  // BF16, F16 and F32, or twice the same of whole bytes.
  DType from = DType::BF16;
  DType to = DType::BF16;
};

struct RegionReadOptions {
  int threads = 1;
  // About what a thread reads at a time: stays in its cache until it is converted.
  std::int64_t tile_bytes = std::int64_t{1} << 20;
  std::stop_token stop = {};
  // Called with the bytes of memory that are filled so far, from any worker, never two at once.
  std::function<void(std::uint64_t bytes)> progress = {};
};

// Fills the memory of all regions, whose boxes lie within their tensors, and returns the bytes read
// from the source. Throws what the source throws, and Error(cancelled).
std::uint64_t read_regions(const std::vector<RegionRead>& regions, const Source& source,
                           const RegionReadOptions& options);

}  // namespace mxferry::internal
