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

// A box of what a recipe fills, and the memory to fill.
struct RegionRead {
  const Recipe* recipe = nullptr;  // any but `encode`
  // Of what the recipe fills: a tensor, or one parameter's rows of a fused one. For `decode` and
  // `transpose`, [experts, in, out] or [experts, out, in].
  Shape shape;
  Shape begin, extent;
  std::byte* data = nullptr;
  std::vector<std::int64_t> strides;  // in elements; the last is 1
  // `from` is the dtype of a stored element, which `decode` ignores, and `to` that of an element in
  // memory: any two of BF16, F16 and F32, or the same dtype of whole bytes.
  DType from = DType::BF16;
  DType to = DType::BF16;
};

struct RegionReadOptions {
  int threads = 1;
  // About how many bytes a thread reads at a time; they stay in its cache until converted.
  std::int64_t tile_bytes = std::int64_t{1} << 20;
  std::stop_token stop = {};
  // Called with the bytes of memory filled so far, from any worker, never concurrently.
  std::function<void(std::uint64_t bytes)> progress = {};
};

// Fills the memory of all regions, whose boxes are within their tensors, and returns the bytes read
// from the source. Throws what the source throws, and Error(cancelled).
std::uint64_t read_regions(const std::vector<RegionRead>& regions, const Source& source,
                           const RegionReadOptions& options);

}  // namespace mxferry::internal
