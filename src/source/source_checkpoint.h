#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/folder.h"
#include "gpt_oss/probe.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// The largest config.json accepted, in bytes; real ones are far smaller.
inline constexpr std::uint64_t kLargestConfig = std::uint64_t{4} << 20;

// A checkpoint folder and its interpretation.
struct SourceCheckpoint {
  Folder folder;
  std::filesystem::path side_folder;       // holds config.json and the files beside it
  Catalog catalog;                         // sorted by name; shard indexes folder.shards
  std::optional<std::string> config_text;  // config.json, unchanged
  Description description;
  std::vector<Problem> problems;  // from folder and description, fatal ones first
};

// Opens a checkpoint. `source` may be a whole NeMo AutoModel checkpoint or its model/; folder.path
// is the folder chosen. `orientation`: axis order of square dense expert weights, if the user gives
// one. Throws Error(not_a_checkpoint, io_error) only if there is nothing to inspect.
SourceCheckpoint open_source(const std::string& source,
                             std::optional<AxisOrder> orientation = std::nullopt);

// Opens the checkpoint's shards for reading, in the order of folder.shards. Throws Error(io_error).
std::vector<File> open_shards(const SourceCheckpoint& checkpoint);

// Throws the first fatal problem, if any, as an Error.
void require_sound(const SourceCheckpoint& checkpoint);

}  // namespace mxferry::internal
