#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "flow/transcode.h"

namespace mxferry::internal {

struct FlowOptions {
  int threads = 1;
  TileLimits limits = {};
  bool allow_nonfinite = false;
  QuantMode quant_mode = QuantMode::gptoss;
  const Source* reference = nullptr;  // of Recipe::reference_scales
  // The parts of the recipes to run, no recipe twice; nullopt: everything.
  std::optional<std::vector<RecipePart>> parts = {};
  std::stop_token stop = {};
  // Called with the target's bytes done so far, from any worker, never concurrently, at most twenty
  // times a second.
  std::function<void(std::uint64_t bytes)> progress = {};
};

// Runs the recipes of a conversion, which are in the order of their targets. Each worker stays with
// one shard of the target while that has work, so that two rarely write to one file. Finishes each
// shard when everything requested of it is done, and shards without data if everything is
// requested. Returns the counts by recipe. Throws the first error of any worker, and
// Error(cancelled) on request.
std::vector<ConversionCounts> run_flow(const std::vector<Recipe>& recipes,
                                       const Catalog& source_catalog, const Catalog& target_catalog,
                                       std::size_t shard_count, const Source& source, Sink& sink,
                                       const FlowOptions& options);

ConversionCounts sum(const std::vector<ConversionCounts>& counts) noexcept;

// The largest buffers that any of the parts needs.
ScratchSizes scratch_sizes(const std::vector<Recipe>& recipes, const std::vector<RecipePart>& parts,
                           const TileLimits& limits) noexcept;

}  // namespace mxferry::internal
