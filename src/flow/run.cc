#include "flow/run.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>

#include "base/parallel.h"
#include "flow/schedule.h"

namespace mxferry {
namespace {

// Adds up what the workers have done, and reports it now and then.
class Progress {
 public:
  Progress(const std::function<void(std::uint64_t)>& report, std::size_t recipes)
      : report_(report), counts_(recipes) {}

  void add(std::uint64_t bytes, std::size_t recipe, const ConversionCounts& counts) {
    const std::lock_guard lock(mutex_);
    bytes_ += bytes;
    counts_[recipe] += counts;
    constexpr std::chrono::milliseconds kInterval(50);
    const auto now = std::chrono::steady_clock::now();
    if (!report_ || now - last_ < kInterval) return;
    last_ = now;
    report_(bytes_);
  }

  std::vector<ConversionCounts> take_counts() { return std::move(counts_); }

 private:
  const std::function<void(std::uint64_t)>& report_;
  std::mutex mutex_;
  std::uint64_t bytes_ = 0;
  std::vector<ConversionCounts> counts_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace

ScratchSizes scratch_sizes(const std::vector<Recipe>& recipes, const TileLimits& limits) noexcept {
  ScratchSizes largest;
  for (const Recipe& recipe : recipes) {
    const ScratchSizes sizes = scratch_sizes(recipe, limits);
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
  Schedule schedule(recipes, target_catalog, shard_count, options.limits);
  const ScratchSizes sizes = scratch_sizes(recipes, options.limits);
  const Transcoding transcoding{
      source_catalog,     source,           sink, options.limits, options.allow_nonfinite,
      options.quant_mode, options.reference};
  Progress progress(options.progress, recipes.size());
  run_workers(options.threads, options.stop, [&](int, std::stop_token stop) {
    Scratch scratch(sizes);
    std::optional<std::size_t> shard;
    while (!stop.stop_requested()) {
      const std::optional<Schedule::Work> work = schedule.next(shard);
      if (!work) return;
      shard = work->shard;
      const ConversionCounts counts = transcode(transcoding, *work->recipe, work->tile, scratch);
      progress.add(target_bytes(*work->recipe, work->tile),
                   static_cast<std::size_t>(work->recipe - recipes.data()), counts);
      for (const std::size_t done : schedule.finish(*work)) sink.finish_shard(done);
    }
  });
  for (const std::size_t shard : schedule.empty_shards()) sink.finish_shard(shard);
  return progress.take_counts();
}

}  // namespace mxferry
