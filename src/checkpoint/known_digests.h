#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/manifest.h"

namespace mxferry::internal {

// What the files of a folder should be, as far as the folder tells.
struct KnownDigests {
  std::string from;  // in words
  // By file name, in hexadecimal: SHA-256 where it has kSha256Digits, else git's hash.
  Manifest by_name;
};

// Of the first that there is:
// - in a snapshot of a Hugging Face cache the names of the blobs that the files are links to: the
//   SHA-256 of what the Hub keeps as a large file, else git's hash;
// - SHA256SUMS;
// - what `hf download --local-dir` notes of each file, by the same rule. Source: huggingface_hub,
//   _local_folder.py: .cache/huggingface/download/NAME.metadata, the digest in the second line.
// Throws Error: not_a_checkpoint where there is none, invalid_manifest, io_error.
KnownDigests find_known_digests(const std::filesystem::path& folder);

}  // namespace mxferry::internal
