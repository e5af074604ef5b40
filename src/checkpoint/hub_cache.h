#pragma once

#include <filesystem>
#include <optional>

namespace mxferry::internal {

// The entry of a Hugging Face cache (models--ORG--NAME) that a folder lies in, where it is one of
// its snapshots or a folder of one. `folder` is resolved. Source: huggingface_hub, "Manage the
// cache": ENTRY/{refs/REVISION, snapshots/COMMIT/FILE -> ../../blobs/HASH, blobs/HASH}.
std::optional<std::filesystem::path> hub_cache_entry(const std::filesystem::path& folder);

}  // namespace mxferry::internal
