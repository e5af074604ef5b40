#include "verbs/write_manifest.h"

#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "base/read_pieces.h"

namespace mxferry {
namespace {

std::string sha256_of(const std::filesystem::path& path, const std::stop_token& stop) {
  const File file = File::open_for_reading(path);
  Sha256 hash;
  read_pieces(file, 0, file.size(), stop,
              [&](std::span<const std::byte> piece) { hash.add(piece); });
  return hash.digest();
}

}  // namespace

void write_manifest(const std::filesystem::path& folder, Manifest digests, bool sync,
                    const std::stop_token& stop) {
  std::vector<Manifest::iterator> unknown;
  for (auto entry = digests.begin(); entry != digests.end(); ++entry) {
    if (entry->second.empty()) unknown.push_back(entry);
  }
  parallel_for(available_threads(), std::ssize(unknown), [&](std::int64_t i) {
    auto& [name, digest] = *unknown[static_cast<std::size_t>(i)];
    digest = sha256_of(folder / name, stop);
  });
  write_text_file(folder / kManifestName, serialize_manifest(digests), sync);
}

}  // namespace mxferry
