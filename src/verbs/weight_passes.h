#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "flow/sink.h"
#include "flow/tile.h"
#include "flow/transcode.h"
#include "mxferry/convert.h"
#include "mxferry/difference.h"
#include "verbs/prepared_conversion.h"

namespace mxferry::internal {

// The successive passes of a conversion over its weights, reported as one progress: writing them,
// reading them back, measuring the loss.
class WeightPasses {
 public:
  // Both references must outlive this object. `passes`: the number of passes over the part's
  // weights, not counting the measurement of the loss.
  WeightPasses(const ConvertOptions& options, const PreparedConversion& preparation, int passes);

  // Whether to measure the loss: with `verify`, if the target cannot hold every value. Never for
  // one of several parts, which has no whole result to compare.
  bool loses() const noexcept { return loses_; }

  // Converts `parts`, of this part's share, into a sink; the rest of the share, from an earlier
  // run, counts as done.
  std::vector<ConversionCounts> run(std::vector<RecipePart> parts, Sink& sink);

  // Compares the source with the checkpoint at the destination.
  Difference measure_loss();

  // Reports that everything is done.
  void finish();

 private:
  std::function<void(std::uint64_t)> progress() const;

  const ConvertOptions& options_;
  const PreparedConversion& p_;
  bool loses_;
  std::uint64_t total_ = 0;
  std::uint64_t before_ = 0;  // bytes of finished passes
};

}  // namespace mxferry::internal
