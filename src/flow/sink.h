#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/file.h"
#include "flow/file_digest.h"
#include "flow/shared_file.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// Where the target's bytes go. Thread-safe.
class Sink {
 public:
  virtual ~Sink() = default;

  // Writes the tensor's bytes from `offset` on. `tensor` indexes the target catalog. Each byte is
  // written once.
  virtual void write(std::size_t tensor, std::uint64_t offset,
                     std::span<const std::byte> bytes) = 0;

  // Called once per shard, after everything that this run writes to it.
  virtual void finish_shard(std::size_t shard) = 0;
};

// One safetensors file to be written.
struct OutputFile {
  std::filesystem::path path;  // its final name
  std::string header;          // the bytes before the data
  std::uint64_t size = 0;      // of the whole file
  // Set if other processes write to the file too (shared_file.h): its path while it is written, and
  // that of this process's border file. finish_shard() leaves it there, without its header.
  std::filesystem::path shared = {};
  std::filesystem::path borders = {};
  // The file exists already; writes to it are ignored.
  bool finished = false;
};

struct FileSinkOptions {
  // Sends data to the disk during the conversion; finish_shard() waits until it is there.
  bool sync = true;
  // Computes the SHA-256 of shards that only this process writes.
  bool digests = false;
  std::stop_token stop = {};  // for finish_shard(), which may hash: Error(cancelled)
  // Called at the end of finish_shard(), from any thread, for each shard that did not exist
  // already. `sha256` is empty if there is none.
  std::function<void(std::size_t shard, const std::string& sha256)> on_finished = {};
};

// Writes shards, each of which takes its final name when it is complete.
class FileSink : public Sink {
 public:
  // `files` is indexed by StoredTensor::shard. The catalog's offsets must be set, and it must
  // outlive this object.
  FileSink(const Catalog& catalog, std::vector<OutputFile> files, FileSinkOptions options = {});

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t shard) override;

 private:
  struct OpenShard {
    std::mutex opening;
    bool is_open = false;
    std::optional<AtomicFile> file;  // either this or `shared`
    std::optional<SharedFile> shared;
    std::optional<FileDigest> digest;
    std::atomic<std::uint64_t> unflushed = 0;
  };

  OpenShard& open(std::size_t shard);
  void create(const OutputFile& output, OpenShard& state) const;
  static void share(const OutputFile& output, OpenShard& state);
  void flush_window(OpenShard& shard, std::uint64_t written) const;

  const Catalog& catalog_;
  std::vector<OutputFile> files_;
  FileSinkOptions options_;
  std::vector<OpenShard> shards_;
};

}  // namespace mxferry::internal
