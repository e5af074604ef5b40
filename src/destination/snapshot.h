#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <tuple>

namespace mxferry::internal {

// The name, size and modification time of every file in a folder, and whether a new checkpoint is
// being put in place there.
using Snapshot = std::set<std::tuple<std::string, std::uint64_t, std::int64_t>>;
Snapshot snapshot_of(const std::filesystem::path& folder);

// Throws Error(destination_in_use) unless the folder still matches `before`.
void require_unchanged(const std::filesystem::path& folder, const Snapshot& before);

// Calls `look`, which examines a finished checkpoint, without a lock: a read-only folder cannot be
// locked. Throws Error(destination_in_use) if the folder changed meanwhile, even if `look` threw
// another Error; else what `look` throws. Error(cancelled) is always passed on.
void look_at(const std::filesystem::path& folder, const std::function<void()>& look);

}  // namespace mxferry::internal
