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

  // The tensor's bytes from `offset` on. `tensor` indexes the target catalog. Every byte is written
  // once.
  virtual void write(std::size_t tensor, std::uint64_t offset,
                     std::span<const std::byte> bytes) = 0;

  // Called once a shard, when every byte of it is written.
  virtual void finish_shard(std::size_t shard) = 0;
};

// One safetensors file to be written.
struct OutputFile {
  std::filesystem::path path;  // its final name
  std::string header;          // the bytes before the data
  std::uint64_t size = 0;      // of the whole file
  // If other processes write to the file too (shared_file.h): where it lies meanwhile, and where
  // this one's border file goes. finish_shard() leaves it there, without its header.
  std::filesystem::path shared = {};
  std::filesystem::path borders = {};
  // It is there already: what is written to it goes nowhere.
  bool finished = false;
};

struct FileSinkOptions {
  // The data is sent to the disk while the conversion goes on, and finish_shard() waits for it.
  bool sync = true;
  // SHA-256 of the shards that only this process writes.
  bool digests = false;
  std::stop_token stop = {};  // of finish_shard(), which may have to hash: Error(cancelled)
  // Called by finish_shard() when it is done, for each shard that was not there already, from any
  // thread. `sha256` is empty where there is none.
  std::function<void(std::size_t shard, const std::string& sha256)> on_finished = {};
};

// Shards that take their final names one by one, when complete.
class FileSink : public Sink {
 public:
  // `files` by StoredTensor::shard, whose offsets are set. The catalog must outlive this object.
  FileSink(const Catalog& catalog, std::vector<OutputFile> files, FileSinkOptions options = {});

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t shard) override;

 private:
  struct OpenShard {
    std::mutex opening;
    bool is_open = false;
    std::optional<AtomicFile> file;  // one of these
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
