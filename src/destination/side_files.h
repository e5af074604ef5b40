#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mxferry/inspect.h"

namespace mxferry::internal {

// The names of the regular files of a checkpoint folder that a conversion copies unchanged:
// everything at the top level and in kTemplatesFolder except weights, their indexes, OpenAI's
// dtypes.json, a manifest, NeMo's consolidation lists, config.json (which is edited), unfinished
// files and mxferry's own. A link that leaves the folder is not followed; it becomes a warning.
std::vector<std::string> side_files(const std::filesystem::path& folder,
                                    std::vector<Problem>& warnings);

// Whether a file of this name holds weights or lists them.
bool is_weight_file(const std::string& name);

// Copies a file atomically. `sync`: its data is on the disk before the file gets its name.
void copy_side_file(const std::filesystem::path& from, const std::filesystem::path& to, bool sync);

}  // namespace mxferry::internal
