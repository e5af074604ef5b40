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
#include <string>
#include <vector>

#include "base/file.h"
#include "recipe/catalog.h"

namespace mxferry {

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
  // Other processes write to it too: finish_shard() leaves it unfinished.
  bool shared = false;
  // It is there already: what is written to it goes nowhere.
  bool finished = false;
};

// Shards that take their final names one by one, when complete.
class FileSink : public Sink {
 public:
  // `files` by StoredTensor::shard, whose offsets are set. The catalog must outlive this object.
  // `sync`: the data is sent to the disk while the conversion goes on, and finish_shard() waits for
  // it. `on_finished` is called by finish_shard() when that is done, for each shard that was not
  // there already, from any thread.
  FileSink(const Catalog& catalog, std::vector<OutputFile> files, bool sync,
           std::function<void(std::size_t shard)> on_finished = {});

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t shard) override;

 private:
  struct OpenShard {
    std::mutex opening;
    bool is_open = false;
    std::optional<AtomicFile> file;
    std::atomic<std::uint64_t> unflushed = 0;
  };

  AtomicFile& open(std::size_t shard);

  const Catalog& catalog_;
  std::vector<OutputFile> files_;
  bool sync_;
  std::function<void(std::size_t)> on_finished_;
  std::vector<OpenShard> shards_;
};

}  // namespace mxferry
