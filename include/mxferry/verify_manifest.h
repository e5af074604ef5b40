#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "mxferry/convert.h"

namespace mxferry {

// What `mxferry verify --manifest` takes; the defaults are its defaults.
struct VerifyManifestOptions {
  std::string source = {};  // a folder, or a Hub name in the local cache
  int threads = 0;          // 0: as many as the process may use; each hashes a file at a time
  std::function<void(const ConvertProgress&)> progress = {};  // as in ConvertOptions; bytes read
  std::stop_token stop = {};
};

// A file that does not have the digest that it should have.
struct DamagedFile {
  std::string name;      // relative to the folder
  std::string expected;  // digest, in hexadecimal
  std::string found;     // digest; empty where the file could not be read
  std::string problem;   // in words: "differs", "is missing", or why it could not be read
};

struct VerifyManifestReport {
  std::filesystem::path path;  // resolved
  // Where the digests come from, in words: SHA256SUMS, or what the Hugging Face cache or a download
  // to a folder keeps.
  std::string manifest;
  std::size_t files = 0;  // that have a digest
  std::vector<DamagedFile> damaged;
  std::vector<std::string> unlisted;  // files at the folder's top level that have none
  std::uint64_t bytes_read = 0;
  double seconds = 0;

  // Whether every file has the digest that it should have.
  bool intact() const noexcept { return damaged.empty(); }
};

// Reads every file that has a digest and compares: SHA-256, or git's hash of a small file of the
// Hub.
// Throws Error: not_a_checkpoint (no such folder, or no digests), invalid_manifest, io_error (of
// the manifest itself), cancelled.
VerifyManifestReport verify_manifest(const VerifyManifestOptions& options);

}  // namespace mxferry
