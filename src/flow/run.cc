#include "flow/run.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/parallel.h"
#include "flow/parts.h"
#include "flow/progress.h"
#include "flow/schedule.h"
#include "flow/split_rows.h"

namespace mxferry::internal {

ScratchSizes scratch_sizes(const std::vector<Recipe>& recipes, const std::vector<RecipePart>& parts,
                           const TileLimits& limits) noexcept {
  ScratchSizes largest;
  for (const RecipePart& part : parts) {
    const ScratchSizes sizes = scratch_sizes(recipes[part.recipe], part, limits);
    largest.source = std::max(largest.source, sizes.source);
    largest.middle = std::max(largest.middle, sizes.middle);
    largest.target = std::max(largest.target, sizes.target);
  }
  return largest;
}

ConversionCounts sum(const std::vector<ConversionCounts>& counts) noexcept {
  ConversionCounts total;
  for (const ConversionCounts& each : counts) total += each;
  return total;
}

std::vector<ConversionCounts> run_flow(const std::vector<Recipe>& recipes,
                                       const Catalog& source_catalog, const Catalog& target_catalog,
                                       std::size_t shard_count, const Source& source, Sink& sink,
                                       const FlowOptions& options) {
  const std::vector<RecipePart> parts =
      options.parts ? *options.parts : recipes_of_part(recipes, 0, 1);
  Schedule schedule(recipes, parts, target_catalog, shard_count, options.limits);
  const ScratchSizes sizes = scratch_sizes(recipes, parts, options.limits);
  SplitRows target(sink, target_catalog);
  const Transcoding transcoding{
      source_catalog,     source,           target, options.limits, options.allow_nonfinite,
      options.quant_mode, options.reference};
  Progress progress(options.progress);
  std::vector<ConversionCounts> counts(recipes.size());
  std::mutex counts_mutex;
  run_workers(options.threads, options.stop, [&](int, std::stop_token stop) {
    Scratch scratch(sizes);
    std::optional<std::size_t> shard;
    while (!stop.stop_requested()) {
      const std::optional<Schedule::Work> work = schedule.next(shard);
      if (!work) return;
      shard = work->shard;
      const Recipe& recipe = recipes[work->recipe];
      const ConversionCounts added = transcode(transcoding, recipe, work->tile, scratch);
      {
        const std::lock_guard lock(counts_mutex);
        counts[work->recipe] += added;
      }
      progress.add(target_bytes(recipe, work->tile));
      for (const std::size_t done : schedule.finish(*work)) sink.finish_shard(done);
    }
  });
  if (options.parts) return counts;
  for (const std::size_t shard : shards_without_data(recipes, target_catalog, shard_count)) {
    sink.finish_shard(shard);
  }
  return counts;
}

}  // namespace mxferry::internal
