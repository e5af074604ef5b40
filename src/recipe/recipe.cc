#include "recipe/recipe.h"

#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

std::uint64_t element_count(const Recipe& recipe) noexcept {
  return static_cast<std::uint64_t>(recipe.experts) * static_cast<std::uint64_t>(recipe.rows) *
         static_cast<std::uint64_t>(recipe.columns);
}

std::uint64_t element_bytes(DType dtype) noexcept {
  return static_cast<std::uint64_t>(bits(dtype)) / 8;
}

// The bytes of blocks and scales together.
std::uint64_t packed_bytes(const Recipe& recipe) noexcept {
  return element_count(recipe) / kBlockSize * (kBlockBytes + 1);
}

}  // namespace

std::vector<std::size_t> targets_of(const Recipe& recipe, const Catalog& target) {
  std::vector<std::size_t> tensors = {recipe.target};
  if (recipe.operation == Operation::encode) tensors.push_back(recipe.target_scales);
  const std::size_t count = tensors.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (const auto& odd = target[tensors[i]].odd_rows) tensors.push_back(odd->tensor);
  }
  return tensors;
}

std::uint64_t source_bytes(const Recipe& recipe) noexcept {
  switch (recipe.operation) {
    case Operation::copy:
      return element_count(recipe);
    case Operation::decode:
      return packed_bytes(recipe);
    default:
      return element_count(recipe) * element_bytes(recipe.from);
  }
}

std::uint64_t target_bytes(const Recipe& recipe) noexcept {
  if (recipe.operation == Operation::copy) return element_count(recipe);
  if (recipe.operation == Operation::encode) return packed_bytes(recipe);
  return element_count(recipe) * element_bytes(recipe.to);
}

}  // namespace mxferry::internal
