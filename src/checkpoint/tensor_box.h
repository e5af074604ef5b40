#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "mxferry/tensor.h"

namespace mxferry::internal {

// A part of a tensor: elements [begin, end) by dimension.
struct TensorBox {
  Shape begin;
  Shape end;
};

// "[0:4, 720:1440]".
std::string text_of(const TensorBox& box);

// What two boxes that overlap have in common.
TensorBox intersection(const TensorBox& a, const TensorBox& b);

// Two boxes with an element in common, by index, where there are any. None of the boxes is empty;
// all have the same number of dimensions.
std::optional<std::pair<std::size_t, std::size_t>> find_overlap(std::span<const TensorBox> boxes);

// A box of the tensor that none of the boxes reaches, where they do not fill it. They do not
// overlap and lie within the shape, which has elements, fewer than 2^63.
std::optional<TensorBox> find_hole(const Shape& shape, std::span<const TensorBox> boxes);

}  // namespace mxferry::internal
