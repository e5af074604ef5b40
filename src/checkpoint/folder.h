#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mxferry/inspect.h"
#include "mxferry/safetensors.h"

namespace mxferry::internal {

// The folder in a destination that holds mxferry's state while a checkpoint is made there; the file
// in it that is there while the new checkpoint is put in place; what is so called there is removed
// by whoever comes next. And what a release before these left beside the files of an unfinished
// conversion. See docs/destination.md.
inline constexpr const char* kStateFolder = ".mxferry";
inline constexpr const char* kPublicationName = "publication";
inline constexpr std::string_view kTrashPrefix = "trash-";
inline constexpr std::string_view kOlderJournalPrefix = ".mxferry-journal";

// One safetensors file of a checkpoint folder, its header validated.
struct ShardFile {
  std::string name;            // as the index spells it, relative to the folder
  std::filesystem::path path;  // to open; links resolved
  SafetensorsHeader header;
};

// A part of a tensor of a distributed checkpoint: a box of it, row-major, in one of the shards.
struct FolderChunk {
  std::size_t shard = 0;    // index into Folder::shards
  Shape offsets;            // where the box begins in the tensor, by dimension, in elements
  Shape sizes;              // of the box
  std::uint64_t begin = 0;  // of its bytes in the data section
};

// A tensor that the checkpoint offers: listed by the index, or in any shard where there is no
// index.
struct FolderTensor {
  std::size_t shard = 0;  // index into Folder::shards
  TensorInfo info;
  // Of a distributed checkpoint: at least one, which together hold every element once, by the first
  // element that they hold. `info` is then the whole tensor's, but shard, begin and end are those
  // of the first chunk.
  std::vector<FolderChunk> chunks = {};
};

// A weight_map entry whose file is missing or does not hold the tensor.
struct MissingEntry {
  std::string tensor;
  std::string file;
  bool file_exists = false;
};

// What lies in a checkpoint folder, before anybody asks what the tensors mean.
struct Folder {
  std::filesystem::path path;
  std::vector<ShardFile> shards;      // those that could be read, by name
  std::vector<FolderTensor> tensors;  // sorted by name; no name twice
  // What the index lists and no shard holds; without the entries of a shard that could not be read,
  // which is a fatal problem. Whether each is fatal is for the layout to say.
  std::vector<MissingEntry> missing;
  bool has_index = false;
  bool is_distributed = false;    // the shards hold chunks of tensors, as torch writes them
  std::vector<Problem> problems;  // everything found here, in a stable order
};

// Reads every header and the index of a folder; never reads weights. What is wrong with the content
// becomes a problem, so that one run can show all of them; only a path that cannot be read at all
// throws (Error not_a_checkpoint, io_error).
Folder open_folder(const std::filesystem::path& path);

// The folder that a SRC argument means: an existing path as it is; else a Hub name such as
// "openai/gpt-oss-20b" that lies in the local Hugging Face cache. Throws Error(not_a_checkpoint)
// that says where it looked.
std::filesystem::path resolve_source(const std::string& source);

// Whether a file of the folder may be followed to `target` (resolved): it lies within the folder,
// or within the same Hugging Face cache entry (models--ORG--NAME).
bool link_stays_inside(const std::filesystem::path& folder, const std::filesystem::path& target);

}  // namespace mxferry::internal
