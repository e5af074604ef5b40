#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "mxferry/tensor.h"

namespace mxferry::internal {

// A box of a tensor: elements [begin, end) by dimension.
struct TensorBox {
  Shape begin;
  Shape end;
};

// "[0:4, 720:1440]".
std::string text_of(const TensorBox& box);

// The intersection of two boxes that overlap.
TensorBox intersection(const TensorBox& a, const TensorBox& b);

// The indices of two boxes with an element in common, if there are any. No box is empty; all have
// the same number of dimensions.
std::optional<std::pair<std::size_t, std::size_t>> find_overlap(std::span<const TensorBox> boxes);

// If the boxes do not fill the tensor, a box of it that none of them reaches. The boxes do not
// overlap and are within the shape, which has elements, fewer than 2^63.
std::optional<TensorBox> find_hole(const Shape& shape, std::span<const TensorBox> boxes);

}  // namespace mxferry::internal
