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

// Names in a destination folder; see docs/destination.md. kStateFolder holds mxferry's state while
// a checkpoint is made there. In it, kPublicationName exists during a publication, and the next
// command removes entries that start with kTrashPrefix. Older releases left files that start with
// kOlderJournalPrefix beside those of an unfinished conversion.
inline constexpr const char* kStateFolder = ".mxferry";
inline constexpr const char* kPublicationName = "publication";
inline constexpr std::string_view kTrashPrefix = "trash-";
inline constexpr std::string_view kOlderJournalPrefix = ".mxferry-journal";
// The only subfolder whose files belong to a checkpoint: transformers' further chat templates.
inline constexpr std::string_view kTemplatesFolder = "additional_chat_templates/";

// One safetensors file of a checkpoint folder, its header validated.
struct ShardFile {
  std::string name;            // as the index spells it, relative to the folder
  std::filesystem::path path;  // to open; links resolved
  SafetensorsHeader header;
};

// A chunk of a tensor of a distributed checkpoint: a box, row-major, in one of the shards.
struct FolderChunk {
  std::size_t shard = 0;    // index into Folder::shards
  Shape offsets;            // where the box begins in the tensor, by dimension, in elements
  Shape sizes;              // of the box
  std::uint64_t begin = 0;  // of its bytes, in the data section
};

// A tensor that the checkpoint offers: listed by the index or, without an index, in any shard.
struct FolderTensor {
  std::size_t shard = 0;  // index into Folder::shards
  TensorInfo info;
  // Distributed checkpoints only: at least one chunk, in the order of their first elements. Unless
  // a problem was reported, they hold every element exactly once. `info` describes the whole
  // tensor, except that `shard` and `info.begin` are those of the first chunk and `info.end` is not
  // set.
  std::vector<FolderChunk> chunks = {};
};

// A weight_map entry whose file is missing or does not hold the tensor.
struct MissingEntry {
  std::string tensor;
  std::string file;
  bool file_exists = false;
};

// The contents of a checkpoint folder, before the tensors are interpreted.
struct Folder {
  std::filesystem::path path;
  std::vector<ShardFile> shards;      // those that could be read, by name
  std::vector<FolderTensor> tensors;  // sorted by name; no name twice
  // Index entries that no shard holds, except those of a shard that could not be read, which is a
  // fatal problem. Whether each is fatal depends on the layout.
  std::vector<MissingEntry> missing;
  bool has_index = false;
  bool is_distributed = false;    // the shards hold chunks of tensors, as torch saves them
  std::vector<Problem> problems;  // all that were found, in a stable order
};

// Reads the index and every header of a folder, but no weights. Faults in the content become
// problems, so that one run can show them all; only a path that cannot be read at all throws Error:
// not_a_checkpoint, io_error.
Folder open_folder(const std::filesystem::path& path);

// Resolves a SRC argument to a folder: an existing path as is, else a Hub name such as
// "openai/gpt-oss-20b", with or without "@REVISION", in the local Hugging Face cache. Throws
// Error(not_a_checkpoint) that says where it looked.
std::filesystem::path resolve_source(const std::string& source);

// Whether a link in the folder may be followed to `target` (resolved): it is within the folder, or
// within the same Hugging Face cache entry (models--ORG--NAME).
bool link_stays_inside(const std::filesystem::path& folder, const std::filesystem::path& target);

}  // namespace mxferry::internal
