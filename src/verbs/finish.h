#pragma once

#include <filesystem>
#include <vector>

#include "mxferry/convert.h"
#include "verbs/journal.h"

namespace mxferry {

// What finish_conversion() does. The caller has the journals, or nobody has. Waits for the disk if
// all parts did.
FinishReport finish_parts(const std::filesystem::path& folder,
                          const std::vector<FoundJournal>& journals);

}  // namespace mxferry
