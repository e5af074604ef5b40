#include "mxferry/verify_manifest.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "base/read_pieces.h"
#include "checkpoint/folder.h"
#include "checkpoint/known_digests.h"
#include "checkpoint/manifest.h"
#include "flow/progress.h"
#include "mxferry/error.h"

namespace mxferry {

using namespace internal;

namespace {

namespace fs = std::filesystem;

std::vector<std::string> find_unlisted(const fs::path& folder, const KnownDigests& digests) {
  std::vector<std::string> names;
  for (const std::string& name : list_folder(folder)) {
    if (name == kManifestName || digests.by_name.contains(name)) continue;
    if (is_file(folder / name)) names.push_back(name);
  }
  return names;
}

class Check {
 public:
  Check(const VerifyManifestOptions& options, const fs::path& folder, const KnownDigests& digests)
      : options_(options),
        folder_(folder),
        files_(digests.by_name.begin(), digests.by_name.end()),
        progress_(report_) {
    for (const auto& [name, digest] : files_) {
      std::error_code error;
      const std::uintmax_t size = fs::file_size(folder / name, error);
      if (!error) total_ += size;
    }
  }

  void run(VerifyManifestReport& report) {
    const int threads = options_.threads == 0 ? available_threads() : options_.threads;
    parallel_for(threads, std::ssize(files_), [&](std::int64_t i) {
      const auto& [name, digest] = files_[static_cast<std::size_t>(i)];
      if (auto damage = check(name, digest)) {
        const std::lock_guard lock(mutex_);
        report.damaged.push_back(std::move(*damage));
      }
    });
    report_(total_);
    std::ranges::sort(report.damaged, {}, &DamagedFile::name);
    report.bytes_read = bytes_;
  }

 private:
  std::optional<DamagedFile> check(const std::string& name, const std::string& expected) {
    DamagedFile damage{.name = name, .expected = expected, .found = {}, .problem = {}};
    const fs::path path = folder_ / name;
    try {
      if (!is_there(path)) {
        damage.problem = "is missing";
        return damage;
      }
      if (!link_stays_inside(folder_, fs::canonical(path))) {
        damage.problem = "is a link that leaves the folder";
        return damage;
      }
      damage.found = digest_of(path, expected.size());
      if (damage.found == expected) return std::nullopt;
      damage.problem = "differs";
    } catch (const fs::filesystem_error& error) {
      damage.problem = error.code().message();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::cancelled) throw;
      damage.problem = error.details().problem;
    }
    return damage;
  }

  std::string digest_of(const fs::path& path, std::size_t digits) {
    const File file = File::open_for_reading(path);
    return digits == kSha256Digits ? digest_of(file, Sha256())
                                   : digest_of(file, GitBlobHash(file.size()));
  }

  template <typename Hash>
  std::string digest_of(const File& file, Hash hash) {
    read_pieces(file, 0, file.size(), options_.stop, [&](std::span<const std::byte> piece) {
      hash.add(piece);
      bytes_ += piece.size();
      progress_.add(piece.size());
    });
    return hash.digest();
  }

  const VerifyManifestOptions& options_;
  const fs::path& folder_;
  std::vector<std::pair<std::string, std::string>> files_;  // names and digests
  std::uint64_t total_ = 0;
  std::atomic<std::uint64_t> bytes_ = 0;
  std::mutex mutex_;
  const std::function<void(std::uint64_t)> report_ = [this](std::uint64_t bytes) {
    if (options_.progress) options_.progress({bytes, total_});
  };
  Progress progress_;
};

}  // namespace

VerifyManifestReport verify_manifest(const VerifyManifestOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.threads < 0) {
    throw Error(ErrorCode::invalid_argument, {.problem = "the number of threads",
                                              .expected = "0 or more",
                                              .found = std::to_string(options.threads)});
  }
  VerifyManifestReport report;
  report.path = resolve_source(options.source);
  const KnownDigests digests = find_known_digests(report.path);
  report.manifest = digests.from;
  report.files = digests.by_name.size();
  report.unlisted = find_unlisted(report.path, digests);
  Check(options, report.path, digests).run(report);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace mxferry
