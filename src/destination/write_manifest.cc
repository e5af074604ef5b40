#include "destination/write_manifest.h"

#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "base/read_pieces.h"
#include "checkpoint/folder.h"
#include "destination/state_folder.h"

namespace mxferry::internal {
namespace {

std::string sha256_of(const std::filesystem::path& path, const std::stop_token& stop) {
  const File file = File::open_for_reading(path);
  Sha256 hash;
  read_pieces(file, 0, file.size(), stop,
              [&](std::span<const std::byte> piece) { hash.add(piece); });
  return hash.digest();
}

// Computes the empty digests from the files.
void complete(const std::filesystem::path& folder, Manifest& digests, const std::stop_token& stop) {
  std::vector<Manifest::iterator> unknown;
  for (auto entry = digests.begin(); entry != digests.end(); ++entry) {
    if (entry->second.empty()) unknown.push_back(entry);
  }
  parallel_for(available_threads(), std::ssize(unknown), [&](std::int64_t i) {
    auto& [name, digest] = *unknown[static_cast<std::size_t>(i)];
    digest = sha256_of(folder / name, stop);
  });
}

}  // namespace

void write_manifest(const std::filesystem::path& folder, Manifest digests, bool sync,
                    const std::stop_token& stop) {
  complete(folder, digests, stop);
  write_text_file(folder / kManifestName, serialize_manifest(digests), sync);
}

void add_manifest(const std::filesystem::path& destination, const std::vector<std::string>& files,
                  const Snapshot& before, bool sync, const std::stop_token& stop) {
  Manifest digests;
  for (const std::string& name : files) digests[name] = "";
  complete(destination, digests, stop);
  const std::string text = serialize_manifest(digests);
  const DestinationLock lock(destination, stop);
  require_unchanged(destination, before);
  const std::filesystem::path path = destination / kManifestName;
  if (is_file(path) && read_text_file(path, kLargestManifest) == text) return;
  const std::filesystem::path made =
      state_folder(destination) / (std::string(kTrashPrefix) + kManifestName);
  write_text_file(made, text, sync);
  rename_file(made, path);
  if (sync) sync_folder(destination);
}

}  // namespace mxferry::internal
