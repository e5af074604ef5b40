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
  explicit Progress(const std::function<void(std::uint64_t)>& report) : report_(report) {}

  void add(std::uint64_t bytes, const LossCounts& losses) {
    const std::lock_guard lock(mutex_);
    bytes_ += bytes;
    losses_.underflows += losses.underflows;
    losses_.flushed += losses.flushed;
    constexpr std::chrono::milliseconds kInterval(50);
    const auto now = std::chrono::steady_clock::now();
    if (!report_ || now - last_ < kInterval) return;
    last_ = now;
    report_(bytes_);
  }

  const LossCounts& losses() const noexcept { return losses_; }

 private:
  const std::function<void(std::uint64_t)>& report_;
  std::mutex mutex_;
  std::uint64_t bytes_ = 0;
  LossCounts losses_;
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

LossCounts run_flow(const std::vector<Recipe>& recipes, const Catalog& source_catalog,
                    const Catalog& target_catalog, std::size_t shard_count, const Source& source,
                    Sink& sink, const FlowOptions& options) {
  Schedule schedule(recipes, target_catalog, shard_count, options.limits);
  const ScratchSizes sizes = scratch_sizes(recipes, options.limits);
  const Transcoding transcoding{source_catalog, source, sink, options.limits,
                                options.allow_nonfinite};
  Progress progress(options.progress);
  run_workers(options.threads, options.stop, [&](int, std::stop_token stop) {
    Scratch scratch(sizes);
    std::optional<std::size_t> shard;
    while (!stop.stop_requested()) {
      const std::optional<Schedule::Work> work = schedule.next(shard);
      if (!work) return;
      shard = work->shard;
      const LossCounts losses = transcode(transcoding, *work->recipe, work->tile, scratch);
      progress.add(target_bytes(*work->recipe, work->tile), losses);
      if (schedule.finish(*shard)) sink.finish_shard(*shard);
    }
  });
  for (const std::size_t shard : schedule.empty_shards()) sink.finish_shard(shard);
  return progress.losses();
}

}  // namespace mxferry
