#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "destination/snapshot.h"

namespace mxferry::internal {

// Writes a folder's manifest, computing the digests that are empty. Throws Error: io_error,
// cancelled.
void write_manifest(const std::filesystem::path& folder, Manifest digests, bool sync,
                    const std::stop_token& stop);

// Writes the manifest of these files of a finished checkpoint, unless it exists and is the same.
// Takes the DestinationLock. Throws Error: io_error, cancelled, destination_in_use (also if the
// folder no longer matches `before`).
void add_manifest(const std::filesystem::path& destination, const std::vector<std::string>& files,
                  const Snapshot& before, bool sync, const std::stop_token& stop);

}  // namespace mxferry::internal
