#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "mxferry/convert.h"

namespace mxferry {

// The options of `mxferry verify --manifest`, with the same defaults.
struct VerifyManifestOptions {
  std::string source = {};  // a folder, or a Hub name in the local cache
  int threads = 0;          // 0: as many as the process may use; each hashes one file at a time
  std::function<void(const ConvertProgress&)> progress = {};  // as in ConvertOptions; bytes read
  std::stop_token stop = {};
};

// A file whose digest is not the expected one.
struct DamagedFile {
  std::string name;      // relative to the folder
  std::string expected;  // digest, in hexadecimal
  std::string found;     // digest; empty if the file was not read
  std::string problem;   // in words: "differs", "is missing", or why it was not read
};

struct VerifyManifestReport {
  std::filesystem::path path;  // resolved
  // Where the digests come from, in words: SHA256SUMS, or the records of the Hugging Face cache or
  // of a download to a folder.
  std::string manifest;
  std::size_t files = 0;  // with a digest
  std::vector<DamagedFile> damaged;
  std::vector<std::string> unlisted;  // files at the folder's top level without a digest
  std::uint64_t bytes_read = 0;
  double seconds = 0;

  // Whether every file has its expected digest.
  bool intact() const noexcept { return damaged.empty(); }
};

// Reads every file that has a digest and compares: SHA-256, or git's hash for a small file from the
// Hub. Throws Error: invalid_argument (a negative number of threads), not_a_checkpoint (no such
// folder, or no digests), invalid_manifest, io_error (for the manifest itself), cancelled.
VerifyManifestReport verify_manifest(const VerifyManifestOptions& options);

}  // namespace mxferry
