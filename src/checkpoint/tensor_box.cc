#include "checkpoint/tensor_box.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <set>
#include <vector>

namespace mxferry::internal {
namespace {

bool overlap(const TensorBox& a, const TensorBox& b) noexcept {
  for (std::size_t i = 0; i < a.begin.size(); ++i) {
    if (a.begin[i] >= b.end[i] || b.begin[i] >= a.end[i]) return false;
  }
  return true;
}

// The dimension in which the boxes begin at the most places: a plane across it cuts few of them.
std::size_t longest_row(std::span<const TensorBox> boxes) {
  std::size_t best = 0;
  std::size_t most = 0;
  for (std::size_t dim = 0; dim < boxes[0].begin.size(); ++dim) {
    std::set<std::int64_t> begins;
    for (const TensorBox& box : boxes) begins.insert(box.begin[dim]);
    if (begins.size() <= most) continue;
    most = begins.size();
    best = dim;
  }
  return best;
}

// Number of elements over the dimensions from `first` on.
std::int64_t volume(const TensorBox& box, std::size_t first) noexcept {
  std::int64_t count = 1;
  for (std::size_t i = first; i < box.begin.size(); ++i) count *= box.end[i] - box.begin[i];
  return count;
}

using Boxes = std::vector<const TensorBox*>;

std::int64_t volume(const Boxes& boxes, std::size_t first) noexcept {
  return std::accumulate(
      boxes.begin(), boxes.end(), std::int64_t{0},
      [first](std::int64_t sum, const TensorBox* box) { return sum + volume(*box, first); });
}

// Where boxes begin or end along a dimension, and both ends of `within`; sorted, each once.
std::vector<std::int64_t> borders(const TensorBox& within, const Boxes& boxes, std::size_t dim) {
  std::vector<std::int64_t> all = {within.begin[dim], within.end[dim]};
  for (const TensorBox* box : boxes) {
    all.push_back(box->begin[dim]);
    all.push_back(box->end[dim]);
  }
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace

std::string text_of(const TensorBox& box) {
  std::string text = "[";
  for (std::size_t i = 0; i < box.begin.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(box.begin[i]) + ":" + std::to_string(box.end[i]);
  }
  return text + "]";
}

TensorBox intersection(const TensorBox& a, const TensorBox& b) {
  TensorBox common = a;
  for (std::size_t i = 0; i < a.begin.size(); ++i) {
    common.begin[i] = std::max(a.begin[i], b.begin[i]);
    common.end[i] = std::min(a.end[i], b.end[i]);
  }
  return common;
}

// Sweeps a plane along one dimension and compares each box, where it begins, with the boxes that
// the plane cuts there.
std::optional<std::pair<std::size_t, std::size_t>> find_overlap(std::span<const TensorBox> boxes) {
  if (boxes.size() < 2) return std::nullopt;
  if (boxes[0].begin.empty()) return std::pair<std::size_t, std::size_t>(0, 1);
  const std::size_t dim = longest_row(boxes);
  std::vector<std::size_t> order(boxes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return boxes[i].begin[dim]; });
  std::vector<std::size_t> cut;
  for (const std::size_t i : order) {
    std::erase_if(cut, [&](std::size_t j) { return boxes[j].end[dim] <= boxes[i].begin[dim]; });
    for (const std::size_t j : cut) {
      if (overlap(boxes[i], boxes[j])) return std::pair(std::min(i, j), std::max(i, j));
    }
    cut.push_back(i);
  }
  return std::nullopt;
}

// Narrows the hole one dimension after the other, to the first slab between neighboring borders
// that the boxes in it do not fill.
std::optional<TensorBox> find_hole(const Shape& shape, std::span<const TensorBox> boxes) {
  TensorBox hole{Shape(shape.size(), 0), shape};
  Boxes inside;
  for (const TensorBox& box : boxes) inside.push_back(&box);
  if (volume(inside, 0) == volume(hole, 0)) return std::nullopt;
  for (std::size_t dim = 0; dim < shape.size() && !inside.empty(); ++dim) {
    const std::vector<std::int64_t> cuts = borders(hole, inside, dim);
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      Boxes slab;
      std::ranges::copy_if(inside, std::back_inserter(slab), [&](const TensorBox* box) {
        return box->begin[dim] <= cuts[i] && box->end[dim] >= cuts[i + 1];
      });
      if (volume(slab, dim + 1) == volume(hole, dim + 1)) continue;
      hole.begin[dim] = cuts[i];
      hole.end[dim] = cuts[i + 1];
      inside = std::move(slab);
      break;
    }
  }
  return hole;
}

}  // namespace mxferry::internal
