#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include "mxferry/device_mesh.h"
#include "mxferry/dtype.h"
#include "mxferry/tensor.h"

// Meshes for tests, and what their ranks must hold.
namespace mxferry::internal::testing {

// One to three dimensions, their names in any order; rank 0.
inline DeviceMesh any_mesh() {
  std::vector<std::string> known = {"ep", "ep_shard", "dp_replicate", "tp"};
  DeviceMesh mesh;
  const auto count = *rc::gen::inRange<std::size_t>(1, 4);
  while (mesh.dimensions.size() < count) {
    const auto name = known.begin() + *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(known));
    mesh.dimensions.push_back({.name = *name, .size = *rc::gen::inRange<std::int64_t>(1, 6)});
    known.erase(name);
  }
  return mesh;
}

// The mesh as the rank of this number sees it: the last dimension runs fastest.
inline DeviceMesh at_rank(DeviceMesh mesh, std::int64_t rank) {
  for (DeviceMesh::Dimension& dimension : std::views::reverse(mesh.dimensions)) {
    dimension.coordinate = rank % dimension.size;
    rank /= dimension.size;
  }
  return mesh;
}

// What a mesh dimension of this name cuts `size` elements to: torch.chunk by counting.
inline std::vector<std::int64_t> indices(const DeviceMesh& mesh, std::string_view name,
                                         std::int64_t size) {
  std::vector<std::int64_t> held;
  const auto ranks = std::ranges::find(mesh.dimensions, name, &DeviceMesh::Dimension::name);
  for (std::int64_t i = 0; i < size; ++i) {
    if (ranks == mesh.dimensions.end()) {
      held.push_back(i);
      continue;
    }
    const std::int64_t chunk = size / ranks->size + (size % ranks->size > 0 ? 1 : 0);
    if (i / chunk == ranks->coordinate) held.push_back(i);
  }
  return held;
}

inline bool is_of_experts(std::string_view native_name) {
  return native_name.find("mlp.experts.") != std::string_view::npos;
}

// The rank's part of a native tensor, element by element: "ep" cuts the first dimension of an
// expert's, "ep_shard" the second. Adds one to `seen` for each byte.
inline Tensor part_of(std::string_view native_name, const Tensor& whole, const DeviceMesh& mesh,
                      std::vector<int>& seen) {
  const Shape& shape = whole.shape();
  const bool is_cut = is_of_experts(native_name);
  const std::int64_t outer = shape.empty() ? 1 : shape[0];
  const std::int64_t middle = shape.size() < 2 ? 1 : shape[1];
  const auto experts = indices(is_cut ? mesh : DeviceMesh(), "ep", outer);
  const auto inputs = indices(is_cut ? mesh : DeviceMesh(), "ep_shard", middle);
  Shape part_shape = shape;
  if (!shape.empty()) part_shape[0] = std::ssize(experts);
  if (shape.size() > 1) part_shape[1] = std::ssize(inputs);
  Tensor part = Tensor::empty(whole.dtype(), part_shape);
  if (part.byte_count() == 0) return part;
  const std::size_t row = whole.byte_count() / static_cast<std::size_t>(outer * middle);
  std::byte* out = part.data();
  seen.resize(whole.byte_count());
  for (const std::int64_t expert : experts) {
    for (const std::int64_t input : inputs) {
      const std::size_t at = static_cast<std::size_t>(expert * middle + input) * row;
      std::memcpy(out, whole.data() + at, row);
      for (std::size_t i = 0; i < row; ++i) ++seen[at + i];
      out += row;
    }
  }
  return part;
}

// How many ranks hold each element of an expert's tensor.
inline int copies(const DeviceMesh& mesh, std::string_view native_name) {
  std::int64_t count = 1;
  for (const DeviceMesh::Dimension& dimension : mesh.dimensions) {
    const bool cuts = dimension.name == "ep" || dimension.name == "ep_shard";
    if (!cuts || !is_of_experts(native_name)) count *= dimension.size;
  }
  return static_cast<int>(count);
}

}  // namespace mxferry::internal::testing
