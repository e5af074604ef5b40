#pragma once

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <vector>

#include "flow/sink.h"
#include "flow/source.h"
#include "flow/tile.h"
#include "mxferry/dtype.h"
#include "mxferry/quant_mode.h"
#include "mxferry/tensor.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// A box of the tensor that a recipe reads, and the memory that holds it: region.h's counterpart for
// writing.
struct RegionWrite {
  // `copy`, `cast`, or `encode` of a tensor [experts, in, out], whose box spans all of `in`. The
  // recipe reads its source from the first byte on and fills its target.
  const Recipe* recipe = nullptr;
  Shape shape;  // of the whole tensor
  Shape begin, extent;
  const std::byte* data = nullptr;
  std::vector<std::int64_t> strides;  // in elements; the last is 1
  DType dtype = DType::BF16;          // of whole bytes
};

struct RegionWriteOptions {
  int threads = 1;
  TileLimits limits = {};
  bool allow_nonfinite = false;
  QuantMode quant_mode = QuantMode::gptoss;
  const Source* reference = nullptr;  // of Recipe::reference_scales
  std::stop_token stop = {};
};

// Converts the boxes and writes them to their places in the sink; does not finish its shards.
// `catalog` is the source's, for messages. Throws what transcode() throws, and Error(cancelled).
void write_regions(const std::vector<RegionWrite>& regions, const Catalog& catalog, Sink& sink,
                   const RegionWriteOptions& options);

}  // namespace mxferry::internal
