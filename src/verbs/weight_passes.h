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

// The passes of a conversion over its weights, one after the other, as one progress: writing them,
// reading them back, measuring the loss.
class WeightPasses {
 public:
  // Both must outlive this object. `passes`: how often the part's weights are gone through, without
  // measuring the loss.
  WeightPasses(const ConvertOptions& options, const PreparedConversion& preparation, int passes);

  // Whether the loss is to be measured: with `verify`, where the target cannot hold every value.
  bool loses() const noexcept { return loses_; }

  // Converts these parts of this part's share into a sink; what an earlier run has done of the
  // share counts as done.
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
  std::uint64_t before_ = 0;  // bytes of the passes that are done
};

}  // namespace mxferry::internal
