#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "mxferry/safetensors.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

// What PyTorch's distributed checkpoints (DCP) put into `__metadata__` of each safetensors file,
// which says that each tensor of the file is a chunk of a whole one. Source: torch 2.13,
// distributed/checkpoint: _hf_utils.py for the keys, filesystem.py for the writer, hf_storage.py
// for the reader.
inline constexpr const char* kShardingInfoKey = "DCP_SHARDING_INFO";
inline constexpr const char* kDcpVersionKey = "DCP_VERSION";
inline constexpr const char* kDcpVersion = "1.0";

// By tensor name: where the chunk begins in the whole tensor, by dimension, in elements.
using ChunkOffsets = std::map<std::string, Shape>;

// The offsets of every tensor of a file; nullopt if the file is not of a distributed checkpoint.
// Each has as many dimensions as its tensor, and offset + size fits std::int64_t. Throws
// Error(invalid_sharding_info) with `file` and, if one is at fault, the tensor.
std::optional<ChunkOffsets> read_chunk_offsets(const SafetensorsHeader& header,
                                               const std::filesystem::path& file);

// The `__metadata__` of a file that holds these chunks. Names are UTF-8.
std::map<std::string, std::string> chunk_metadata(const ChunkOffsets& offsets);

}  // namespace mxferry::internal
