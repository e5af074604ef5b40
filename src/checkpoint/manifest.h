#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace mxferry::internal {

// The SHA-256 of a folder's files in hexadecimal, by name; a name may lead into folders below.
using Manifest = std::map<std::string, std::string>;

// The file that a manifest is in.
inline constexpr const char* kManifestName = "SHA256SUMS";
// Far above what the files of a checkpoint need.
inline constexpr std::uint64_t kLargestManifest = std::uint64_t{16} << 20;

// A line a file, as sha256sum(1) writes and checks them: the digest, two blanks and the name; where
// a line begins with a backslash, "\\", "\n" and "\r" in the name stand for a backslash and the
// two halves of a line end.
std::string serialize_manifest(const Manifest& manifest);

// Takes what sha256sum(1) writes, but for --tag: also a blank and a star before the name, "./" in
// front of it, capitals, CR LF at the ends of lines, lines with # in front.
// Throws Error(invalid_manifest) with the line for everything else, for names that lead out of the
// folder and for a name with two digests. `file` is for the error.
Manifest parse_manifest(std::string_view text, const std::filesystem::path& file);

}  // namespace mxferry::internal
