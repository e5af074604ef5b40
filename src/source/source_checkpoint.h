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

// Bytes of a config.json, far above real ones.
inline constexpr std::uint64_t kLargestConfig = std::uint64_t{4} << 20;

// A checkpoint folder and what it means.
struct SourceCheckpoint {
  Folder folder;
  std::filesystem::path side_folder;       // of config.json and the files beside it
  Catalog catalog;                         // by name; shard indexes folder.shards
  std::optional<std::string> config_text;  // config.json as it is
  Description description;
  std::vector<Problem> problems;  // of folder and description, fatal ones first
};

// A checkpoint of NeMo AutoModel may be given as a whole, or as its model/: folder.path says what
// was taken. `orientation`: how square dense expert weights lie, where the user says so. Throws
// Error(not_a_checkpoint, io_error) only where there is nothing to look at.
SourceCheckpoint open_source(const std::string& source,
                             std::optional<AxisOrder> orientation = std::nullopt);

// The checkpoint's shards, opened for reading, by number. Throws Error(io_error).
std::vector<File> open_shards(const SourceCheckpoint& checkpoint);

// Throws the first fatal problem as an Error.
void require_sound(const SourceCheckpoint& checkpoint);

}  // namespace mxferry::internal
