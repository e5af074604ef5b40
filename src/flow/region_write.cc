#include "flow/region_write.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>
#include <utility>

#include "base/parallel.h"
#include "flow/sizes.h"
#include "flow/transcode.h"

namespace mxferry::internal {
namespace {

std::int64_t product(std::span<const std::int64_t> sizes) noexcept {
  std::int64_t result = 1;
  for (const std::int64_t size : sizes) result *= size;
  return result;
}

// Splits an index into coordinates; the last dimension varies fastest.
Shape coordinates(std::int64_t index, std::span<const std::int64_t> sizes) {
  Shape result(sizes.size());
  for (std::size_t i = sizes.size(); i-- > 0;) {
    result[i] = index % sizes[i];
    index /= sizes[i];
  }
  return result;
}

// Merges the trailing dimensions that are contiguous in both tensor and memory, so that lines are
// long. A scalar becomes a vector.
void merge_dimensions(RegionWrite& region) {
  if (region.shape.empty()) {
    region.shape = region.extent = region.strides = {1};
    region.begin = {0};
  }
  while (region.shape.size() > 1) {
    const std::size_t last = region.shape.size() - 1;
    const std::int64_t size = region.shape[last];
    if (region.extent[last] != size || region.strides[last - 1] != region.extent[last]) return;
    for (Shape* sizes : {&region.shape, &region.begin, &region.extent}) {
      (*sizes)[last - 1] *= size;
      sizes->pop_back();
    }
    region.strides.pop_back();
    region.strides.back() = 1;
  }
}

// The tensor of which a region holds a box. Only that box may be read.
class BoxSource : public Source {
 public:
  explicit BoxSource(const RegionWrite& region) : region_(region) {}

  void read(std::size_t, std::uint64_t offset, std::span<std::byte> buffer) const override {
    const std::int64_t size = element_size(region_.dtype);
    std::int64_t element = static_cast<std::int64_t>(offset) / size;
    while (!buffer.empty()) {
      const Shape place = coordinates(element, region_.shape);
      const std::int64_t left = region_.begin.back() + region_.extent.back() - place.back();
      const std::size_t bytes = std::min(buffer.size(), to_size(left * size));
      std::memcpy(buffer.data(), memory(place), bytes);
      buffer = buffer.subspan(bytes);
      element += left;
    }
  }

 private:
  const std::byte* memory(const Shape& place) const {
    std::int64_t element = 0;
    for (std::size_t i = 0; i < place.size(); ++i) {
      element += (place[i] - region_.begin[i]) * region_.strides[i];
    }
    return region_.data + element * element_size(region_.dtype);
  }

  const RegionWrite& region_;
};

// A region cut into tiles of its recipe. An `encode` counts rows of experts. The others count
// elements, or bytes for `copy`, along runs, the stretches of the box that are contiguous in the
// target.
class RegionTiling {
 public:
  RegionTiling(RegionWrite region, const TileLimits& limits)
      : region_(std::move(region)), part_(*region_.recipe), tiling_(part_, limits) {
    if (part_.operation == Operation::encode) {
      part_.experts = region_.extent[0];
      part_.rows = region_.extent[2];
    } else {
      find_runs();
    }
    tiling_ = Tiling(part_, limits);
  }

  const RegionWrite& region() const noexcept { return region_; }
  std::int64_t count() const noexcept { return runs_ * tiling_.count(); }
  ScratchSizes scratch(const TileLimits& limits) const noexcept {
    return scratch_sizes(part_, limits);
  }

  Tile tile(std::int64_t index) const {
    const std::int64_t run = index / tiling_.count();
    Tile tile = tiling_.tile(index % tiling_.count());
    std::int64_t first = 0;
    if (part_.operation == Operation::encode) {
      tile.expert += region_.begin[0];
      first = region_.begin[2];
    } else {
      first = run_begin(run) * unit_;
    }
    tile.begin += first;
    tile.end += first;
    return tile;
  }

 private:
  void find_runs() {
    merge_dimensions(region_);
    const std::span<const std::int64_t> extent(region_.extent);
    run_dimension_ = extent.size() - 1;
    while (run_dimension_ > 0 && extent[run_dimension_] == region_.shape[run_dimension_]) {
      --run_dimension_;
    }
    runs_ = product(extent.first(run_dimension_));
    unit_ = part_.operation == Operation::copy ? element_size(region_.dtype) : 1;
    part_.columns = product(extent.subspan(run_dimension_)) * unit_;
  }

  // The index in the tensor of a run's first element.
  std::int64_t run_begin(std::int64_t run) const {
    Shape place = coordinates(run, std::span(region_.extent).first(run_dimension_));
    place.resize(region_.shape.size());
    std::int64_t element = 0;
    for (std::size_t i = 0; i < place.size(); ++i) {
      element = element * region_.shape[i] + region_.begin[i] + place[i];
    }
    return element;
  }

  RegionWrite region_;
  Recipe part_;  // the recipe as if it had one run, or only the box's experts and rows
  Tiling tiling_;
  std::int64_t runs_ = 1;
  std::int64_t unit_ = 1;
  std::size_t run_dimension_ = 0;  // a run spans this and the later ones
};

}  // namespace

void write_regions(const std::vector<RegionWrite>& regions, const Catalog& catalog, Sink& sink,
                   const RegionWriteOptions& options) {
  TileLimits limits = options.limits;
  limits.parts = options.threads;
  std::vector<RegionTiling> tilings;
  std::vector<std::int64_t> ends;  // by region: where its tiles end, counted over all regions
  ScratchSizes sizes;
  std::int64_t count = 0;
  for (const RegionWrite& region : regions) {
    const RegionTiling& last = tilings.emplace_back(region, limits);
    ends.push_back(count += last.count());
    const ScratchSizes needed = last.scratch(limits);
    sizes.source = std::max(sizes.source, needed.source);
    sizes.middle = std::max(sizes.middle, needed.middle);
    sizes.target = std::max(sizes.target, needed.target);
  }
  std::atomic<std::int64_t> next = 0;
  const int threads = static_cast<int>(std::clamp<std::int64_t>(count, 1, options.threads));
  run_workers(threads, options.stop, [&](int, std::stop_token stop) {
    Scratch scratch(sizes);
    while (!stop.stop_requested()) {
      const std::int64_t index = next++;
      if (index >= count) return;
      const auto which = std::ranges::upper_bound(ends, index) - ends.begin();
      const RegionTiling& tiling = tilings[to_size(which)];
      const Tile tile = tiling.tile(index - (which == 0 ? 0 : ends[to_size(which - 1)]));
      const BoxSource source(tiling.region());
      const Transcoding transcoding{
          catalog,          source, sink, limits, options.allow_nonfinite, options.quant_mode,
          options.reference};
      transcode(transcoding, *tiling.region().recipe, tile, scratch);
    }
  });
}

}  // namespace mxferry::internal
