#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace mxferry::internal {

// The SHA-256 of a folder's files in hexadecimal, by name; a name may be a path into subfolders.
using Manifest = std::map<std::string, std::string>;

// The file name of a manifest.
inline constexpr const char* kManifestName = "SHA256SUMS";
// Bytes, far more than the files of a checkpoint need.
inline constexpr std::uint64_t kLargestManifest = std::uint64_t{16} << 20;

// One line per file, as sha256sum(1) writes and checks it: the digest, two spaces and the name. If
// a line begins with a backslash, "\\", "\n" and "\r" in the name stand for backslash, line feed
// and carriage return.
std::string serialize_manifest(const Manifest& manifest);

// Accepts what sha256sum(1) writes without --tag; also a space and a star before the name, "./" in
// front of it, upper-case digits, CR LF line ends, empty lines and lines that begin with #. Throws
// Error(invalid_manifest) with the line for everything else, for names that lead out of the folder
// and for a name with two different digests. `file` is for the error.
Manifest parse_manifest(std::string_view text, const std::filesystem::path& file);

}  // namespace mxferry::internal
