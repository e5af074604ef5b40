#include "recipe/chunks.h"

#include <algorithm>
#include <utility>

#include "mxferry/dtype.h"

namespace mxferry::internal {
namespace {

// A chunk of one tensor.
struct Chunk {
  std::int64_t begin = 0;  // along dimension 0
  std::int64_t end = 0;
  std::size_t target = 0;  // index into the cut catalog
};

bool is_whole(const StoredTensor& tensor) noexcept {
  return tensor.shape.empty() || tensor.byte_count == 0 ||
         tensor.byte_count % static_cast<std::uint64_t>(tensor.shape[0]) != 0;
}

// The chunks of a tensor by part.
std::vector<Chunk> chunks_of(const StoredTensor& tensor, std::size_t parts) {
  if (is_whole(tensor)) return {{0, tensor.shape.empty() ? 0 : tensor.shape[0]}};
  const std::int64_t size = tensor.shape[0];
  const auto count = static_cast<std::int64_t>(parts);
  const std::int64_t step = size / count + (size % count != 0 ? 1 : 0);
  std::vector<Chunk> chunks;
  for (std::int64_t begin = 0; begin < size; begin += step) {
    chunks.push_back({begin, std::min(size, begin + step)});
  }
  return chunks;
}

StoredTensor chunk_tensor(const StoredTensor& tensor, const Chunk& chunk, std::size_t part) {
  StoredTensor result{.name = tensor.name,
                      .dtype = tensor.dtype,
                      .shape = tensor.shape,
                      .shard = part,
                      .byte_count = tensor.byte_count,
                      .stacked = tensor.stacked};
  if (is_whole(tensor)) return result;
  result.byte_count = tensor.byte_count / static_cast<std::uint64_t>(tensor.shape[0]) *
                      static_cast<std::uint64_t>(chunk.end - chunk.begin);
  result.shape[0] = chunk.end - chunk.begin;
  return result;
}

// The part of a copy or cast that fills bytes [begin, end) of its target, which are a chunk. Zero
// columns if it fills none of them.
Recipe cut_bytes(Recipe recipe, std::uint64_t begin, std::uint64_t end) {
  const bool casts = recipe.operation == Operation::cast;
  const auto unit = casts ? static_cast<std::uint64_t>(bits(recipe.to)) / 8 : 1;
  const auto source_unit = casts ? static_cast<std::uint64_t>(bits(recipe.from)) / 8 : 1;
  const std::uint64_t first = std::max(begin, recipe.target_offset);
  const std::uint64_t last = std::max(
      first,
      std::min(end, recipe.target_offset + static_cast<std::uint64_t>(recipe.columns) * unit));
  recipe.source_offset += (first - recipe.target_offset) / unit * source_unit;
  recipe.columns = static_cast<std::int64_t>((last - first) / unit);
  recipe.target_offset = first - begin;
  return recipe;
}

Recipe cut_experts(Recipe recipe, const Chunk& chunk) {
  recipe.first_expert += chunk.begin;
  recipe.experts = chunk.end - chunk.begin;
  return recipe;
}

bool has_experts(const Recipe& recipe) noexcept {
  return recipe.operation != Operation::copy && recipe.operation != Operation::cast;
}

}  // namespace

ChunkedRecipes chunk_recipes(const Catalog& target, const std::vector<Recipe>& recipes,
                             std::size_t parts) {
  return chunk_recipes(target, recipes, [parts](const StoredTensor&) { return parts; });
}

ChunkedRecipes chunk_recipes(const Catalog& target, const std::vector<Recipe>& recipes,
                             const std::function<std::size_t(const StoredTensor&)>& parts_of) {
  std::vector<std::vector<Chunk>> chunks;  // by tensor, then part
  ChunkedRecipes cut;
  for (const StoredTensor& tensor : target) {
    chunks.push_back(chunks_of(tensor, parts_of(tensor)));
    cut.parts = std::max(cut.parts, chunks.back().size());
  }
  for (std::size_t part = 0; part < cut.parts; ++part) {
    for (std::size_t i = 0; i < target.size(); ++i) {
      if (part >= chunks[i].size()) continue;
      Chunk& chunk = chunks[i][part];
      chunk.target = cut.target.size();
      cut.target.push_back(chunk_tensor(target[i], chunk, part));
      cut.begins.push_back(chunk.begin);
    }
  }
  for (const Recipe& recipe : recipes) {
    std::uint64_t begin = 0;  // of the chunk, in bytes of the tensor
    for (std::size_t part = 0; part < chunks[recipe.target].size(); ++part) {
      const Chunk& chunk = chunks[recipe.target][part];
      const std::uint64_t end = begin + cut.target[chunk.target].byte_count;
      Recipe piece =
          has_experts(recipe) ? cut_experts(recipe, chunk) : cut_bytes(recipe, begin, end);
      begin = end;
      if (piece.columns == 0 && recipe.columns != 0) continue;
      piece.target = chunk.target;
      if (recipe.operation == Operation::encode) {
        piece.target_scales = chunks[recipe.target_scales][part].target;
      }
      cut.recipes.push_back(piece);
    }
  }
  std::ranges::sort(cut.recipes, {}, [](const Recipe& recipe) {
    return std::pair(recipe.target, recipe.target_offset);
  });
  return cut;
}

}  // namespace mxferry::internal
