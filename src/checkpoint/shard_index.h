#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace mxferry::internal {

// The index of a folder, under the name that transformers gives it.
inline constexpr const char* kIndexName = "model.safetensors.index.json";

// Which file of the folder holds which tensor.
struct ShardIndex {
  std::map<std::string, std::string> weight_map;  // tensor name to file name
  std::optional<std::uint64_t> total_size;        // bytes of all tensors
};

// Limits on an index, far above real ones.
inline constexpr std::uint64_t kLargestIndex = 100'000'000;  // bytes
inline constexpr std::size_t kMostIndexEntries = 400'000;

// Parses and validates. Every file name is relative and stays in the folder. total_size is left out
// if it is any number but an unsigned integer; older releases of transformers wrote a fractional
// one. Throws Error(invalid_index) with `file` and, if one is at fault, the tensor.
ShardIndex parse_shard_index(std::string text, const std::filesystem::path& file);

// The text as transformers writes it: json.dumps(indent=2, sort_keys=True) and a newline. Throws
// Error(invalid_argument) if a name is not UTF-8.
std::string serialize_shard_index(const ShardIndex& index);

}  // namespace mxferry::internal
