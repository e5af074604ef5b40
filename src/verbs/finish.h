#pragma once

#include <filesystem>
#include <stop_token>
#include <vector>

#include "mxferry/convert.h"
#include "verbs/journal.h"

namespace mxferry {

// What finish_conversion() does. The caller has the journals, or nobody has. Waits for the disk if
// all parts did. `stop`: of hashing, for the manifest.
FinishReport finish_parts(const std::filesystem::path& folder,
                          const std::vector<FoundJournal>& journals, const std::stop_token& stop);

}  // namespace mxferry
