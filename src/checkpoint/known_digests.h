#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/manifest.h"

namespace mxferry::internal {

// The digests that a folder's files should have, according to the folder itself.
struct KnownDigests {
  std::string from;  // where they come from, in words
  // By file name, in hexadecimal: SHA-256 if it has kSha256Digits, else git's blob hash.
  Manifest by_name;
};

// Uses the first of these that exists:
// - in a snapshot of a Hugging Face cache, the names of the blobs that the files link to: the
//   SHA-256 of a file that the Hub stores as a large file, else git's blob hash;
// - SHA256SUMS;
// - what `hf download --local-dir` records of each file, by the same rule. Source: huggingface_hub,
//   _local_folder.py: .cache/huggingface/download/NAME.metadata, the digest in the second line.
// Throws Error: not_a_checkpoint (there is none, or a link leaves the folder), invalid_manifest,
// io_error.
KnownDigests find_known_digests(const std::filesystem::path& folder);

}  // namespace mxferry::internal
