#pragma once

#include <filesystem>
#include <optional>

namespace mxferry::internal {

// The entry of a Hugging Face cache (models--ORG--NAME) that holds a folder; nullopt unless the
// folder is one of its snapshots or below one. `folder` is resolved. Source: huggingface_hub,
// "Manage the cache": ENTRY/{refs/REVISION, snapshots/COMMIT/FILE -> ../../blobs/HASH, blobs/HASH}.
std::optional<std::filesystem::path> hub_cache_entry(const std::filesystem::path& folder);

}  // namespace mxferry::internal
