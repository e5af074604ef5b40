#include "checkpoint/known_digests.h"

#include <functional>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/folder.h"
#include "checkpoint/hub_cache.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDownloads = ".cache/huggingface/download";

bool is_digest(std::string_view text) {
  return is_hexadecimal(text, kSha256Digits) || is_hexadecimal(text, kGitBlobDigits);
}

// Calls act(name) for everything in a folder and its subfolders that is not a folder, down to
// kDeepest levels. Does not follow links.
void for_each_name(const fs::path& folder, const std::string& below, int depth,
                   const std::function<void(const std::string& name)>& act) {
  constexpr int kDeepest = 8;
  if (depth > kDeepest) return;
  for (const std::string& entry : list_folder(folder / below)) {
    std::string name = below;
    if (!name.empty()) name += '/';
    name += entry;
    if (is_real_folder(folder / name)) {
      for_each_name(folder, name, depth + 1, act);
    } else {
      act(name);
    }
  }
}

Manifest blobs_of(const fs::path& snapshot) {
  Manifest digests;
  for_each_name(snapshot, "", 0, [&](const std::string& name) {
    std::error_code error;
    const std::string blob = fs::read_symlink(snapshot / name, error).filename().string();
    if (!error && is_digest(blob)) digests[name] = blob;
  });
  return digests;
}

// The second line of a download's metadata file, if it is a digest.
std::optional<std::string> noted_digest(const fs::path& metadata) {
  constexpr std::uint64_t kLongest = 4096;
  if (!fs::is_regular_file(link_status(metadata))) return std::nullopt;
  const std::string text = read_text_file(metadata, kLongest);
  const std::size_t begin = text.find('\n');
  if (begin == std::string::npos) return std::nullopt;
  std::string line = text.substr(begin + 1, text.find('\n', begin + 1) - begin - 1);
  return is_digest(line) ? std::optional(std::move(line)) : std::nullopt;
}

// The path of `name`, which must exist. Throws Error(not_a_checkpoint) if links lead out of the
// folder.
fs::path inside(const fs::path& folder, const char* name) {
  std::error_code error;
  const fs::path path = folder / name;
  if (link_stays_inside(folder, fs::canonical(path, error))) return path;
  throw Error(ErrorCode::not_a_checkpoint, {.problem = "a link leaves the folder", .file = path});
}

Manifest downloads_of(const fs::path& folder) {
  Manifest digests;
  if (!is_folder(folder / kDownloads)) return digests;
  const fs::path downloads = inside(folder, kDownloads);
  for_each_name(downloads, "", 0, [&](const std::string& name) {
    constexpr std::string_view kEnding = ".metadata";
    if (!name.ends_with(kEnding)) return;
    if (auto digest = noted_digest(downloads / name)) {
      digests[name.substr(0, name.size() - kEnding.size())] = std::move(*digest);
    }
  });
  return digests;
}

Manifest manifest_of(const fs::path& folder) {
  const fs::path file = inside(folder, kManifestName);
  Manifest digests = parse_manifest(read_text_file(file, kLargestManifest), file);
  if (digests.empty()) {
    throw Error(ErrorCode::invalid_manifest, {.problem = "the manifest is empty", .file = file});
  }
  return digests;
}

}  // namespace

KnownDigests find_known_digests(const fs::path& folder) {
  std::error_code error;
  if (hub_cache_entry(fs::canonical(folder, error))) {
    Manifest blobs = blobs_of(folder);
    if (!blobs.empty()) return {"the hashes that the Hugging Face cache keeps", std::move(blobs)};
  }
  if (is_file(folder / kManifestName)) return {kManifestName, manifest_of(folder)};
  Manifest downloads = downloads_of(folder);
  if (!downloads.empty()) {
    return {std::string("the hashes that the download noted in ") + kDownloads,
            std::move(downloads)};
  }
  throw Error(ErrorCode::not_a_checkpoint,
              {.problem = "the folder has no manifest",
               .file = folder,
               .expected = kManifestName,
               .advice = "Convert with --checksum, or make one of files that you trust: "
                         "sha256sum * > SHA256SUMS"});
}

}  // namespace mxferry::internal
