#pragma once

#include <filesystem>
#include <stop_token>

#include "checkpoint/manifest.h"

namespace mxferry {

// Writes a folder's manifest. Files whose digest is empty are read for it. Throws Error: io_error,
// cancelled.
void write_manifest(const std::filesystem::path& folder, Manifest digests, bool sync,
                    const std::stop_token& stop);

}  // namespace mxferry
