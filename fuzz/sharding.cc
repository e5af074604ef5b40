// What the files of a training run's ranks say of the chunks in them.
#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/dcp_metadata.h"
#include "checkpoint/join_chunks.h"
#include "checkpoint/safetensors_header.h"
#include "fuzz/input.h"
#include "mxferry/error.h"

namespace mxferry::internal::fuzz {
namespace {

SafetensorsHeader header_of(std::vector<TensorInfo> tensors,
                            std::map<std::string, std::string> metadata) {
  return make_safetensors_header(std::move(tensors), std::move(metadata)).header;
}

// Calls act(element) for every element of a box of a tensor, by its index.
template <typename Act>
void for_each_element(const Shape& shape, const FolderChunk& chunk, std::size_t dimension,
                      std::int64_t index, const Act& act) {
  if (dimension == shape.size()) {
    act(static_cast<std::size_t>(index));
    return;
  }
  for (std::int64_t i = 0; i < chunk.sizes[dimension]; ++i) {
    const std::int64_t place = chunk.offsets[dimension] + i;
    for_each_element(shape, chunk, dimension + 1, index * shape[dimension] + place, act);
  }
}

// Whether the chunks hold every element once, element by element.
bool hold_every_element_once(const Shape& shape, const std::vector<FolderChunk>& chunks) {
  std::size_t elements = 1;
  for (const std::int64_t size : shape) elements *= static_cast<std::size_t>(size);
  std::vector<int> times(elements);
  for (const FolderChunk& chunk : chunks) {
    for_each_element(shape, chunk, 0, 0, [&](std::size_t element) { ++times[element]; });
  }
  return std::ranges::all_of(times, [](int count) { return count == 1; });
}

// A file of one rank with one chunk, of up to four rows, columns and so on.
ShardFile shard_of(Choices& choices, std::size_t rank, std::size_t dimensions) {
  Shape offsets;
  Shape sizes;
  for (std::size_t i = 0; i < dimensions; ++i) {
    offsets.push_back(static_cast<std::int64_t>(choices.below(5)));
    sizes.push_back(static_cast<std::int64_t>(choices.below(5)));
  }
  return {.name = std::to_string(rank),
          .path = {},
          .header = header_of({{.name = "t", .dtype = DType::U8, .shape = sizes}},
                              chunk_metadata({{"t", offsets}}))};
}

}  // namespace

// The text of DCP_SHARDING_INFO in a file that holds a [2, 3] and b [].
void sharding(Input input) {
  const std::vector<TensorInfo> tensors = {{.name = "a", .dtype = DType::BF16, .shape = {2, 3}},
                                           {.name = "b", .dtype = DType::BF16, .shape = {}}};
  try {
    SafetensorsHeader header = header_of(tensors, {});
    header.metadata[kShardingInfoKey] = text_of(input);
    const auto offsets = read_chunk_offsets(header, "shard");
    require(offsets && offsets->size() == 2, "every tensor has its offsets");
    const Shape& a = offsets->at("a");
    require(a.size() == 2 && offsets->at("b").empty(), "as many as it has dimensions");
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    require(a[0] >= 0 && a[0] <= kMost - 2 && a[1] >= 0 && a[1] <= kMost - 3,
            "a chunk ends below 2^63");
    require(read_chunk_offsets(header_of(tensors, chunk_metadata(*offsets)), "shard") == offsets,
            "what was read returns");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_sharding_info, "the metadata is to blame");
  }
}

// Up to eight files of one tensor of up to three dimensions: those that make a whole are found to,
// and no others.
void chunks(Input input) {
  Choices choices(input);
  const std::size_t dimensions = choices.below(4);
  const std::size_t files = 1 + choices.below(8);
  std::vector<ShardFile> shards;
  shards.reserve(files);
  for (std::size_t i = 0; i < files; ++i) shards.push_back(shard_of(choices, i, dimensions));
  bool is_whole = true;
  const auto tensors = join_chunks(shards, false, [&](const Error& error, std::string_view) {
    require(
        error.code() == ErrorCode::overlapping_chunks || error.code() == ErrorCode::missing_chunk,
        "a hole or an overlap is to blame");
    is_whole = false;
  });
  require(tensors.size() == 1, "people see the tensor");
  require(hold_every_element_once(tensors[0].info.shape, tensors[0].chunks) == is_whole,
          "what is whole holds every element once");
}

}  // namespace mxferry::internal::fuzz
