#include "flow/compare.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "base/memory.h"
#include "base/parallel.h"
#include "dense/compare.h"
#include "flow/progress.h"
#include "flow/sizes.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

bool has_blocks(const Comparison& c) noexcept {
  return c.a.packed || c.b.packed;
}

// Both dense and in the same order: compared as stored, whatever the order means.
bool is_flat(const Comparison& c) noexcept {
  return !has_blocks(c) && c.a.order == c.b.order;
}

// BF16 if it holds all values of both sides, as it does those of decoded weights, else F32.
DType common_dtype(const Comparison& c) noexcept {
  const auto fits = [](const StoredSide& side) { return side.packed || side.dtype == DType::BF16; };
  return fits(c.a) && fits(c.b) ? DType::BF16 : DType::F32;
}

// Whether boxes are loaded as [columns][rows], because a dense side is stored that way.
bool is_transposed_box(const Comparison& c) noexcept {
  const auto lies_so = [](const StoredSide& side) {
    return !side.packed && side.order == AxisOrder::in_out;
  };
  return lies_so(c.a) || lies_so(c.b);
}

// How a comparison is cut: into tiles of rows (of elements if flat), and within a tile into boxes
// that are in memory at once, of columns if transposed, else of rows.
struct Cut {
  std::int64_t extent = 0;  // of the dimension that tiles cut, in one expert
  std::int64_t tile = 1;
  std::int64_t box = 1;
  std::int64_t tiles_per_expert = 0;
};

Cut cut(const Comparison& c, const TileLimits& limits) noexcept {
  // Two boxes and the buffers beside them stay in the cache.
  const auto size = static_cast<std::size_t>(bits(common_dtype(c))) / 8;
  const auto weights =
      std::max<std::int64_t>(kBlockSize, static_cast<std::int64_t>(limits.target_bytes / 2 / size));
  Cut result;
  if (is_flat(c)) {
    result.extent = c.rows * c.columns;
    result.tile = result.box = std::clamp<std::int64_t>(result.extent, 1, weights);
  } else {
    const std::int64_t packed_row = c.columns / kBlockSize * (kBlockBytes + 1);
    const auto most = static_cast<std::int64_t>(limits.source_bytes);
    result.extent = c.rows;
    result.tile = std::max<std::int64_t>(
        1, has_blocks(c) ? most / std::max<std::int64_t>(1, packed_row) : weights / kBlockSize);
    if (is_transposed_box(c)) {
      result.tile = std::clamp<std::int64_t>(result.tile, 1, std::max(c.rows, std::int64_t{1}));
      result.tile = std::min(result.tile, std::max<std::int64_t>(1, weights / kBlockSize));
      const std::int64_t columns = weights / result.tile / kBlockSize * kBlockSize;
      result.box = std::clamp<std::int64_t>(columns, kBlockSize,
                                            std::max<std::int64_t>(kBlockSize, c.columns));
    } else {
      result.tile = std::clamp<std::int64_t>(result.tile, 1, std::max(c.rows, std::int64_t{1}));
      result.box =
          std::clamp<std::int64_t>(weights / std::max<std::int64_t>(1, c.columns), 1, result.tile);
    }
  }
  const bool nothing = c.experts == 0 || c.rows == 0 || c.columns == 0;
  result.tiles_per_expert = nothing ? 0 : (result.extent + result.tile - 1) / result.tile;
  return result;
}

// The largest box, in weights.
std::size_t box_weights(const Comparison& c, const Cut& cut) noexcept {
  if (is_flat(c)) return to_size(cut.box);
  return to_size(is_transposed_box(c) ? std::min(cut.box, c.columns) * std::min(cut.tile, c.rows)
                                      : cut.box * c.columns);
}

struct BufferSizes {
  std::size_t packed = 0;
  std::size_t weights = 0;  // of one box

  std::size_t total() const noexcept {
    // For each of two sides the packed bytes, the box as stored and the box as loaded; then the
    // limits and a spare box. Elements take up to 4 bytes.
    return 2 * packed + weights * (4 * sizeof(float) + 2 * sizeof(float));
  }
};

BufferSizes buffer_sizes(const std::vector<Comparison>& comparisons,
                         const TileLimits& limits) noexcept {
  BufferSizes sizes;
  for (const Comparison& c : comparisons) {
    const Cut c_cut = cut(c, limits);
    if (c_cut.tiles_per_expert == 0) continue;
    sizes.weights = std::max(sizes.weights, box_weights(c, c_cut));
    if (!has_blocks(c)) continue;
    sizes.packed = std::max(sizes.packed, to_size(std::min(c_cut.tile, c.rows) *
                                                  (c.columns / kBlockSize) * (kBlockBytes + 1)));
  }
  return sizes;
}

class Buffers {
 public:
  explicit Buffers(const BufferSizes& sizes)
      : packed_a_(allocate_bytes(sizes.packed)),
        packed_b_(allocate_bytes(sizes.packed)),
        raw_a_(allocate_bytes(sizes.weights * sizeof(float))),
        raw_b_(allocate_bytes(sizes.weights * sizeof(float))),
        weights_a_(allocate_bytes(sizes.weights * sizeof(float))),
        weights_b_(allocate_bytes(sizes.weights * sizeof(float))),
        spare_(allocate_bytes(sizes.weights * sizeof(float))),
        limits_(allocate_bytes(sizes.weights * sizeof(float))) {}

  SideBuffers side_a() const { return {packed_a_.get(), raw_a_.get(), spare_.get()}; }
  SideBuffers side_b() const { return {packed_b_.get(), raw_b_.get(), spare_.get()}; }
  std::byte* a() const { return weights_a_.get(); }
  std::byte* b() const { return weights_b_.get(); }
  float* limits() const { return reinterpret_cast<float*>(limits_.get()); }

 private:
  std::shared_ptr<std::byte> packed_a_, packed_b_, raw_a_, raw_b_, weights_a_, weights_b_, spare_,
      limits_;
};

// The contribution of one tile.
struct TileResult {
  Difference difference;
  std::optional<WeightPair> worst;
  bool bytes_identical = true;
};

double error_of(const std::optional<WeightPair>& pair) noexcept {
  return pair ? std::fabs(pair->b - pair->a) : 0;
}

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) noexcept {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

// One tile of one comparison.
class TileComparison {
 public:
  TileComparison(const Comparison& c, const Cut& cut, const Source& a, const Source& b,
                 const Buffers& buffers)
      : c_(c),
        cut_(cut),
        buffers_(buffers),
        a_(a, c.a, c.rows, c.columns, common_dtype(c), buffers.side_a()),
        b_(b, c.b, c.rows, c.columns, common_dtype(c), buffers.side_b()) {}

  TileResult run(std::int64_t index, ComparisonReport& report, std::mutex& mutex) {
    const std::int64_t expert = index / cut_.tiles_per_expert;
    const std::int64_t first = index % cut_.tiles_per_expert * cut_.tile;
    const std::int64_t count = std::min(cut_.tile, cut_.extent - first);
    if (is_flat(c_)) {
      compare_flat(expert, first, count);
      return result_;
    }
    a_.open(expert, first, count);
    b_.open(expert, first, count);
    result_.bytes_identical = c_.a.packed && c_.b.packed && same_bytes(a_.packed(), b_.packed());
    std::array<std::uint64_t, 256> scales_a{}, scales_b{};
    if (c_.a.packed) a_.count_scales(scales_a);
    if (c_.b.packed) b_.count_scales(scales_b);
    {
      const std::lock_guard lock(mutex);
      for (std::size_t i = 0; i < scales_a.size(); ++i) {
        report.scales_a[i] += scales_a[i];
        report.scales_b[i] += scales_b[i];
      }
    }
    const bool transposed = is_transposed_box(c_);
    const std::int64_t extent = transposed ? c_.columns : count;
    for (std::int64_t at = 0; at < extent; at += cut_.box) {
      const std::int64_t length = std::min(cut_.box, extent - at);
      compare_box(transposed ? Box{expert, first, count, at, length}
                             : Box{expert, first + at, length, 0, c_.columns},
                  transposed);
    }
    return result_;
  }

 private:
  void compare_flat(std::int64_t expert, std::int64_t first, std::int64_t count) {
    a_.load_flat(expert, first, count, buffers_.a());
    b_.load_flat(expert, first, count, buffers_.b());
    result_.bytes_identical = c_.a.dtype == c_.b.dtype && same_bytes(a_.raw(), b_.raw());
    add(compare_pair(pair_of(1, count), dense::Blocks::none, {}, false), pair_of(1, count),
        [&](std::int64_t i) {
          const bool by_row = c_.a.order == AxisOrder::out_in;
          const std::int64_t line = (first + i) / (by_row ? c_.columns : c_.rows);
          const std::int64_t place = (first + i) % (by_row ? c_.columns : c_.rows);
          return by_row ? WeightPair{expert, line, place} : WeightPair{expert, place, line};
        });
  }

  void compare_box(const Box& box, bool transposed) {
    a_.load(box, transposed, buffers_.a());
    b_.load(box, transposed, buffers_.b());
    const std::int64_t length = transposed ? box.rows : box.columns;
    const dense::Pair pair = pair_of(transposed ? box.columns : box.rows, length);
    const dense::Blocks blocks = !has_blocks(c_) ? dense::Blocks::none
                                 : transposed    ? dense::Blocks::across_lines
                                                 : dense::Blocks::along_lines;
    add(compare_pair(pair, blocks, box, transposed), pair, [&](std::int64_t i) {
      const std::int64_t line = i / length;
      const std::int64_t place = i % length;
      return transposed ? WeightPair{box.expert, box.row + place, box.column + line}
                        : WeightPair{box.expert, box.row + line, box.column + place};
    });
  }

  dense::Pair pair_of(std::int64_t lines, std::int64_t length) const {
    return {buffers_.a(), buffers_.b(), common_dtype(c_), to_size(lines), to_size(length)};
  }

  Difference compare_pair(const dense::Pair& pair, dense::Blocks blocks, const Box& box,
                          bool transposed) {
    if (const auto equal = dense::compare_if_equal(pair, blocks)) return *equal;
    if (!c_.b.packed) return dense::compare(pair, blocks, nullptr);
    b_.load_limits(box, transposed, buffers_.limits());
    return dense::compare(pair, blocks, buffers_.limits());
  }

  // `place(i)` returns the expert, row and column of weight i of the box.
  template <class Place>
  void add(Difference difference, const dense::Pair& pair, const Place& place) {
    if (difference.max_absolute_error > error_of(result_.worst)) {
      const std::size_t i = dense::find_error(pair, difference.max_absolute_error);
      result_.worst = place(static_cast<std::int64_t>(i));
      result_.worst->a = dense::weight(pair.a, pair.dtype, i);
      result_.worst->b = dense::weight(pair.b, pair.dtype, i);
    }
    // Bytes of unknown meaning have no numeric values.
    if (c_.a.dtype == DType::U8 && !c_.a.packed) {
      difference.signal = difference.noise = 0;
      difference.max_absolute_error = difference.max_relative_error = 0;
      result_.worst.reset();
    }
    result_.difference += difference;
  }

  const Comparison& c_;
  const Cut& cut_;
  const Buffers& buffers_;
  SideReader a_, b_;
  TileResult result_;
};

// Combines the tiles in their order.
ComparisonResult put_together(const Comparison& c, const Cut& cut,
                              const std::vector<TileResult>& tiles) {
  ComparisonResult result;
  result.experts.resize(to_size(c.experts));
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    result.experts[i / to_size(cut.tiles_per_expert)] += tiles[i].difference;
    result.bytes_identical &= tiles[i].bytes_identical;
    if (error_of(tiles[i].worst) > error_of(result.worst)) result.worst = tiles[i].worst;
  }
  return result;
}

// Some columns of the first expert, of both sides: [columns][rows].
class Sample {
 public:
  Sample(const Comparison& c, const Source& a, const Source& b)
      : rows_(to_size(c.rows)),
        columns_(to_size(std::min<std::int64_t>(kBlockSize * 2, c.columns))),
        dtype_(common_dtype(c)),
        buffers_({.packed = to_size(c.rows * (c.columns / kBlockSize) * (kBlockBytes + 1)),
                  .weights = rows_ * columns_}) {
    const Box box{0, 0, c.rows, 0, static_cast<std::int64_t>(columns_)};
    const auto load = [&](const Source& source, const StoredSide& side, const SideBuffers& buffers,
                          std::byte* out) {
      SideReader reader(source, side, c.rows, c.columns, dtype_, buffers);
      reader.open(0, 0, c.rows);
      reader.load(box, true, out);
    };
    load(a, c.a, buffers_.side_a(), buffers_.a());
    load(b, c.b, buffers_.side_b(), buffers_.b());
  }

  std::size_t rows() const noexcept { return rows_; }
  std::size_t columns() const noexcept { return columns_; }
  double a(std::size_t row, std::size_t column) const {
    return dense::weight(buffers_.a(), dtype_, column * rows_ + row);
  }
  double b(std::size_t row, std::size_t column) const {
    return dense::weight(buffers_.b(), dtype_, column * rows_ + row);
  }

 private:
  std::size_t rows_, columns_;
  DType dtype_;
  Buffers buffers_;
};

void add(double x, double y, Difference& difference) {
  difference.signal += x * x;
  difference.noise += (y - x) * (y - x);
}

// Whether the weights agree as they are compared in `crossed` and not as they lie. Two unrelated
// matrices are at about -3 dB, a quantized one at 15 or more.
bool agrees_only(const Difference& crossed, const Difference& straight) {
  constexpr double kAlike = 12;
  constexpr double kUnlike = 3;
  return crossed.signal > 0 && crossed.sqnr_db() > kAlike && straight.sqnr_db() < kUnlike;
}

}  // namespace

Difference ComparisonResult::total() const noexcept {
  Difference sum;
  for (const Difference& expert : experts) sum += expert;
  return sum;
}

std::size_t comparison_scratch(const std::vector<Comparison>& comparisons,
                               const TileLimits& limits) noexcept {
  return buffer_sizes(comparisons, limits).total();
}

std::uint64_t compared_bytes(const Comparison& c) noexcept {
  const auto weights = static_cast<std::uint64_t>(c.experts * c.rows * c.columns);
  const auto side = [&](const StoredSide& s) {
    return s.packed ? weights / kBlockSize * (kBlockBytes + 1)
                    : weights * static_cast<std::uint64_t>(bits(s.dtype)) / 8;
  };
  return side(c.a) + side(c.b);
}

ComparisonReport run_comparisons(const std::vector<Comparison>& comparisons, const Source& a,
                                 const Source& b, const ComparisonOptions& options) {
  struct Tiles {
    Cut cut;
    std::vector<TileResult> results;
  };
  std::vector<Tiles> tiles;
  std::vector<std::pair<std::size_t, std::int64_t>> work;
  for (const Comparison& c : comparisons) {
    const Cut c_cut = cut(c, options.limits);
    const std::int64_t count = c.experts * c_cut.tiles_per_expert;
    for (std::int64_t i = 0; i < count; ++i) work.emplace_back(tiles.size(), i);
    tiles.push_back({c_cut, std::vector<TileResult>(to_size(count))});
  }
  ComparisonReport report;
  std::mutex mutex;
  std::atomic<std::size_t> next = 0;
  Progress progress(options.progress);
  run_workers(options.threads, options.stop, [&](int, std::stop_token stop) {
    const Buffers buffers(buffer_sizes(comparisons, options.limits));
    while (!stop.stop_requested()) {
      const std::size_t item = next++;
      if (item >= work.size()) return;
      const auto [index, tile] = work[item];
      const Comparison& c = comparisons[index];
      Tiles& mine = tiles[index];
      mine.results[to_size(tile)] =
          TileComparison(c, mine.cut, a, b, buffers).run(tile, report, mutex);
      progress.add(compared_bytes(c) / mine.results.size());
    }
  });
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    report.results.push_back(put_together(comparisons[i], tiles[i].cut, tiles[i].results));
  }
  return report;
}

bool is_transposed(const Comparison& c, const Source& a, const Source& b) {
  if (c.rows != c.columns || c.rows < 2 || c.experts == 0) return false;
  const Sample sample(c, a, b);
  Difference straight;
  Difference crossed;
  for (std::size_t column = 0; column < sample.columns(); ++column) {
    for (std::size_t row = 0; row < sample.rows(); ++row) {
      add(sample.a(row, column), sample.b(row, column), straight);
      if (row < sample.columns()) add(sample.a(row, column), sample.b(column, row), crossed);
    }
  }
  return agrees_only(crossed, straight);
}

bool has_halves(const Comparison& c, const Source& a, const Source& b) {
  if (c.rows < 4 || c.rows % 2 != 0 || c.columns < 1 || c.experts == 0) return false;
  const Sample sample(c, a, b);
  Difference straight;
  Difference crossed;
  for (std::size_t column = 0; column < sample.columns(); ++column) {
    for (std::size_t row = 0; row < sample.rows(); ++row) {
      const std::size_t half = row % 2 * (sample.rows() / 2);
      add(sample.a(row, column), sample.b(row, column), straight);
      add(sample.a(row, column), sample.b(half + row / 2, column), crossed);
    }
  }
  return agrees_only(crossed, straight);
}

}  // namespace mxferry::internal
