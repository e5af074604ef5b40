#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "flow/sink.h"
#include "flow/source.h"
#include "mxferry/error.h"

namespace mxferry::internal::testing {

using Bytes = std::vector<std::byte>;

// Tensors in memory. `on_read` is called before every transfer.
class MemorySource : public Source {
 public:
  explicit MemorySource(std::vector<Bytes> tensors) : tensors_(std::move(tensors)) {}

  void read(std::size_t tensor, std::uint64_t offset, std::span<std::byte> buffer) const override {
    if (on_read) on_read();
    const Bytes& stored = tensors_.at(tensor);
    if (offset > stored.size() || buffer.size() > stored.size() - offset) {
      throw std::out_of_range("read beyond the tensor");
    }
    std::ranges::copy(std::span(stored).subspan(offset, buffer.size()), buffer.begin());
  }

  std::function<void()> on_read;

 private:
  std::vector<Bytes> tensors_;
};

// Keeps what it is given, and how often each byte and each shard was given. `on_write` is called
// before every transfer.
class MemorySink : public Sink {
 public:
  MemorySink(const Catalog& catalog, std::size_t shard_count)
      : catalog_(catalog), finished_(shard_count) {
    for (const StoredTensor& tensor : catalog) {
      tensors_.emplace_back(tensor.byte_count);
      writes_.emplace_back(tensor.byte_count);
    }
  }

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (on_write) on_write();
    if (finished_.at(catalog_.at(tensor).shard) != 0)
      throw std::logic_error("the shard is finished");
    Bytes& target = tensors_[tensor];
    if (offset > target.size() || bytes.size() > target.size() - offset) {
      throw std::out_of_range("written beyond the tensor");
    }
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      target[offset + i] = bytes[i];
      ++writes_[tensor][offset + i];
    }
  }

  void finish_shard(std::size_t shard) override { ++finished_.at(shard); }

  const std::vector<Bytes>& tensors() const noexcept { return tensors_; }
  // By byte of each tensor.
  const std::vector<std::vector<std::uint8_t>>& writes() const noexcept { return writes_; }
  std::vector<int> finished() const { return {finished_.begin(), finished_.end()}; }

  std::function<void()> on_write;

 private:
  const Catalog& catalog_;
  std::vector<Bytes> tensors_;
  std::vector<std::vector<std::uint8_t>> writes_;
  std::vector<std::atomic<int>> finished_;
};

}  // namespace mxferry::internal::testing
