#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <tuple>

namespace mxferry::internal {

// Name, size and time of change of every file in a folder, and whether a new checkpoint is being
// put in place there.
using Snapshot = std::set<std::tuple<std::string, std::uint64_t, std::int64_t>>;
Snapshot snapshot_of(const std::filesystem::path& folder);

// Throws Error(destination_in_use) unless the folder is as it was.
void require_unchanged(const std::filesystem::path& folder, const Snapshot& before);

// Looks at a finished checkpoint without a lock, as a folder that cannot be written to allows no
// other way. Throws Error(destination_in_use) where it was changed meanwhile, whatever `look` made
// of that, else what `look` throws.
void look_at(const std::filesystem::path& folder, const std::function<void()>& look);

}  // namespace mxferry::internal
