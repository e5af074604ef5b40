#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "flow/sink.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// Writes the rows of targets with StoredTensor::odd_rows to their two tensors by turns, and all
// other targets as they are. Thread-safe.
class SplitRows : public Sink {
 public:
  // The arguments must outlive this object.
  SplitRows(Sink& sink, const Catalog& target) : sink_(sink), target_(target) {}

  void write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) override;
  void finish_shard(std::size_t shard) override { sink_.finish_shard(shard); }

 private:
  Sink& sink_;
  const Catalog& target_;
};

}  // namespace mxferry::internal
