#include "verbs/completeness.h"

#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "base/file.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard_index.h"
#include "destination/publication.h"
#include "destination/shard_files.h"
#include "destination/snapshot.h"
#include "flow/parts.h"
#include "flow/read_back.h"
#include "mxferry/error.h"
#include "mxferry/verify_manifest.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& folder, const std::string& difference) {
  throw Error(ErrorCode::destination_exists,
              {.problem = "the destination exists, and is not what this conversion makes",
               .file = folder,
               .found = difference,
               .advice = "Give a new folder, or --force to replace a checkpoint there"});
}

bool holds(const File& file, std::string_view text) {
  if (file.size() != text.size()) return false;
  std::string found(text.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(found)));
  return found == text;
}

bool are_equal(const File& a, const File& b) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const std::uint64_t size = a.size();
  if (b.size() != size) return false;
  std::vector<std::byte> of_a(std::min<std::uint64_t>(kPiece, size));
  std::vector<std::byte> of_b(of_a.size());
  for (std::uint64_t done = 0; done < size;) {
    const auto count = std::min<std::uint64_t>(kPiece, size - done);
    const auto piece_a = std::span(of_a).first(count);
    const auto piece_b = std::span(of_b).first(count);
    a.read(done, piece_a);
    b.read(done, piece_b);
    if (!std::ranges::equal(piece_a, piece_b)) return false;
    done += count;
  }
  return true;
}

// Checks everything but the weights.
class SmallFiles {
 public:
  SmallFiles(const ConvertOptions& options, const PreparedConversion& p)
      : folder_(options.destination), options_(options), p_(p) {}

  void check() const {
    for (const OutputFile& output : p_.layout.files) check_shard(output);
    const std::string index =
        has_index(p_.names) ? index_text(p_.plan.target, p_.names) : std::string();
    if (!index.empty()) check_text(kIndexName, index);
    for (const auto& [name, text] : made_files(options_, p_)) check_text(name, text);
    for (const std::string& name : p_.summary.carried) {
      if (!are_equal(File::open_for_reading(p_.source.side_folder / name), open(name))) {
        refuse(folder_, name + " is another");
      }
    }
    refuse_others();
  }

 private:
  File open(const std::string& name) const {
    if (!is_file(folder_ / name)) refuse(folder_, "there is no " + name);
    return File::open_for_reading(folder_ / name);
  }

  void check_shard(const OutputFile& output) const {
    const std::string name = output.path.string();
    const File file = open(name);
    if (file.size() != output.size) refuse(folder_, name + " has another size");
    std::string header(output.header.size(), '\0');
    file.read(0, std::as_writable_bytes(std::span(header)));
    if (header != output.header) refuse(folder_, name + " has another header");
  }

  void check_text(const std::string& name, std::string_view text) const {
    if (!holds(open(name), text)) refuse(folder_, name + " is another");
  }

  // Refuses files that a loader could take for a part of the checkpoint.
  void refuse_others() const {
    std::set<std::string> own(p_.names.begin(), p_.names.end());
    for (const std::string& name : side_file_names(options_, p_)) own.insert(name);
    own.insert(kManifestName);
    if (has_index(p_.names)) own.insert(kIndexName);
    for (const std::string& name : checkpoint_files(folder_)) {
      if (!own.contains(name)) refuse(folder_, name + " is not of this conversion");
    }
  }

  const fs::path& folder_;
  const ConvertOptions& options_;
  const PreparedConversion& p_;
};

void compare_weights(const ConvertOptions& options, const PreparedConversion& p,
                     WeightPasses& passes) {
  std::vector<std::optional<WrittenFile>> files;
  for (const std::string& name : p.names) {
    files.emplace_back(WrittenFile{File::open_for_reading(options.destination / name)});
  }
  ReadBack sink(p.plan.target, std::move(files));
  try {
    passes.run(p.own_parts, sink);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::verification_failed) throw;
    refuse(options.destination, "the weights of '" + error.details().tensor + "' are others");
  }
}

// Checks a manifest that this run does not ask for, but that readers of the folder will rely on.
void check_manifest(const ConvertOptions& options) {
  if (options.checksum || options.part.rank != 0) return;
  if (!is_file(options.destination / kManifestName)) return;
  const VerifyManifestReport report = verify_manifest({.source = options.destination.string(),
                                                       .threads = options.threads,
                                                       .progress = {},
                                                       .stop = options.stop});
  if (report.intact()) return;
  const DamagedFile& damaged = report.damaged.front();
  refuse(options.destination,
         "by " + std::string(kManifestName) + " " + damaged.name + " " + damaged.problem);
}

}  // namespace

void prove_complete(const ConvertOptions& options, const PreparedConversion& preparation,
                    WeightPasses& passes) {
  look_at(options.destination, [&] {
    SmallFiles(options, preparation).check();
    compare_weights(options, preparation, passes);
    check_manifest(options);
  });
}

}  // namespace mxferry::internal
