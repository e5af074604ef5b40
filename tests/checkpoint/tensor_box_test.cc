#include "checkpoint/tensor_box.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

namespace mxferry::internal::testing {
namespace {

// Cuts a box along random dimensions, each time in two, into boxes that do not overlap.
std::vector<TensorBox> any_cut(const TensorBox& whole, int cuts) {
  std::vector<TensorBox> boxes = {whole};
  for (int i = 0; i < cuts && !whole.begin.empty(); ++i) {
    const std::size_t which = *rc::gen::inRange<std::size_t>(0, boxes.size());
    const std::size_t dim = *rc::gen::inRange<std::size_t>(0, whole.begin.size());
    TensorBox& box = boxes[which];
    if (box.end[dim] - box.begin[dim] < 2) continue;
    const std::int64_t at = *rc::gen::inRange(box.begin[dim] + 1, box.end[dim]);
    TensorBox other = box;
    box.end[dim] = at;
    other.begin[dim] = at;
    boxes.push_back(std::move(other));
  }
  return boxes;
}

TensorBox any_whole() {
  const Shape shape = *rc::gen::container<Shape>(*rc::gen::inRange<std::size_t>(0, 5),
                                                 rc::gen::inRange<std::int64_t>(1, 7));
  return {Shape(shape.size(), 0), shape};
}

// A box that is not empty, within the whole.
TensorBox any_part(const TensorBox& whole) {
  TensorBox part = whole;
  for (std::size_t i = 0; i < whole.begin.size(); ++i) {
    part.begin[i] = *rc::gen::inRange(whole.begin[i], whole.end[i]);
    part.end[i] = *rc::gen::inRange(part.begin[i] + 1, whole.end[i] + 1);
  }
  return part;
}

bool have_common(const TensorBox& a, const TensorBox& b) {
  const TensorBox common = intersection(a, b);
  return std::ranges::equal(common.begin, common.end, std::ranges::less());
}

RC_GTEST_PROP(TensorBox, ACutHasNeitherOverlapNorHole, ()) {
  const TensorBox whole = any_whole();
  const auto boxes = any_cut(whole, *rc::gen::inRange(0, 40));
  RC_ASSERT(!find_overlap(boxes));
  RC_ASSERT(!find_hole(whole.end, boxes));
}

RC_GTEST_PROP(TensorBox, ALostBoxIsAHole, ()) {
  const TensorBox whole = any_whole();
  auto boxes = any_cut(whole, *rc::gen::inRange(0, 40));
  const int lost = *rc::gen::inRange(1, 4);
  std::vector<TensorBox> gone;
  for (int i = 0; i < lost && !boxes.empty(); ++i) {
    const auto which = boxes.begin() + *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(boxes));
    gone.push_back(*which);
    boxes.erase(which);
  }
  const auto hole = find_hole(whole.end, boxes);
  RC_ASSERT(hole);
  RC_ASSERT(std::ranges::equal(hole->begin, hole->end, std::ranges::less()));
  for (const TensorBox& box : boxes) {
    RC_ASSERT(whole.begin.empty() || !have_common(*hole, box));
  }
  RC_ASSERT(std::ranges::any_of(
      gone, [&](const TensorBox& box) { return whole.begin.empty() || have_common(*hole, box); }));
}

RC_GTEST_PROP(TensorBox, AnotherBoxOverlaps, ()) {
  const TensorBox whole = any_whole();
  auto boxes = any_cut(whole, *rc::gen::inRange(0, 40));
  const auto place = *rc::gen::inRange<std::size_t>(0, boxes.size() + 1);
  boxes.insert(boxes.begin() + static_cast<std::ptrdiff_t>(place), any_part(whole));
  const auto pair = find_overlap(boxes);
  RC_ASSERT(pair);
  RC_ASSERT(pair->first < pair->second);
  RC_ASSERT(pair->first == place || pair->second == place);
  RC_ASSERT(whole.begin.empty() || have_common(boxes[pair->first], boxes[pair->second]));
}

TEST(TensorBox, IsShownAsASlice) {
  EXPECT_EQ(text_of(TensorBox{{0, 720}, {4, 1440}}), "[0:4, 720:1440]");
  EXPECT_EQ(text_of(TensorBox{}), "[]");
}

TEST(TensorBox, HolesAreAsLargeAsWhatIsLost) {
  const std::vector<TensorBox> rows = {{{0, 0}, {2, 6}}, {{4, 0}, {6, 6}}};
  EXPECT_EQ(text_of(*find_hole({6, 6}, rows)), "[2:4, 0:6]");
  const std::vector<TensorBox> columns = {{{0, 0}, {6, 2}}, {{0, 4}, {6, 6}}};
  EXPECT_EQ(text_of(*find_hole({6, 6}, columns)), "[0:6, 2:4]");
  const std::vector<TensorBox> grid = {{{0, 0}, {3, 3}}, {{0, 3}, {3, 6}}, {{3, 0}, {6, 3}}};
  EXPECT_EQ(text_of(*find_hole({6, 6}, grid)), "[3:6, 3:6]");
}

// As many as a checkpoint may have, side by side in one dimension and all across the other.
TEST(TensorBox, ManyAreComparedInGoodTime) {
  std::vector<TensorBox> boxes;
  for (std::int64_t i = 0; i < 16'384; ++i) boxes.push_back({{0, i}, {100, i + 1}});
  EXPECT_FALSE(find_overlap(boxes));
  EXPECT_FALSE(find_hole({100, 16'384}, boxes));
}

}  // namespace
}  // namespace mxferry::internal::testing
