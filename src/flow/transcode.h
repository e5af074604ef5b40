#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "flow/sink.h"
#include "flow/source.h"
#include "flow/tile.h"
#include "mxferry/quant_mode.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// How weights changed beyond ordinary rounding.
struct ConversionCounts {
  std::uint64_t underflows = 0;  // inexact and below the target's normal range
  std::uint64_t flushed = 0;     // of these, those that became 0
  std::uint64_t blocks = 0;      // that were quantized
  std::uint64_t kept = 0;        // of the blocks, those with the reference's scale
  std::uint64_t saturated = 0;   // of the blocks, those with a weight beyond 6 * scale

  ConversionCounts& operator+=(const ConversionCounts& other) noexcept;
};

// One worker's buffers, allocated once and reused for every tile.
class Scratch {
 public:
  explicit Scratch(const ScratchSizes& sizes);

  std::byte* source() noexcept { return source_.get(); }
  std::byte* middle() noexcept { return middle_.get(); }
  std::byte* target() noexcept { return target_.get(); }

 private:
  std::shared_ptr<std::byte> source_, middle_, target_;
};

// State that all tiles of one conversion share.
struct Transcoding {
  const Catalog& source_catalog;  // for messages
  const Source& source;
  Sink& sink;
  TileLimits limits;
  bool allow_nonfinite = false;
  QuantMode quant_mode = QuantMode::gptoss;
  const Source* reference = nullptr;  // of Recipe::reference_scales
};

// Reads, converts and writes one tile. Throws Error: nonfinite_block and nonfinite_weight (unless
// allowed; NaN can never be quantized) and overflow with tensor and position, and what source and
// sink throw.
ConversionCounts transcode(const Transcoding& transcoding, const Recipe& recipe, const Tile& tile,
                           Scratch& scratch);

}  // namespace mxferry::internal
