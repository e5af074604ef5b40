#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "flow/sink.h"
#include "flow/source.h"
#include "flow/tile.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry {

// Values that the target's dtype could not hold, beyond ordinary rounding.
struct LossCounts {
  std::uint64_t underflows = 0;  // inexact and below the normal range
  std::uint64_t flushed = 0;     // of these, those that became 0
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

// What every tile of one conversion shares.
struct Transcoding {
  const Catalog& source_catalog;  // for messages
  const Source& source;
  Sink& sink;
  TileLimits limits;
  bool allow_nonfinite = false;
};

// Reads, converts and writes one tile. Throws Error: nonfinite_block (unless allowed) and overflow
// with tensor and position, and what source and sink throw.
LossCounts transcode(const Transcoding& transcoding, const Recipe& recipe, const Tile& tile,
                     Scratch& scratch);

}  // namespace mxferry
