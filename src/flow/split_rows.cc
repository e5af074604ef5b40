#include "flow/split_rows.h"

#include <algorithm>
#include <array>
#include <vector>

namespace mxferry::internal {
namespace {

// Rows are gathered up to about this many bytes, which bounds memory and stays in the cache.
constexpr std::uint64_t kGathered = std::uint64_t{1} << 18;

// Consecutive bytes of one of the two tensors.
class Gatherer {
 public:
  Gatherer(Sink& sink, std::size_t tensor) : sink_(sink), tensor_(tensor) {}

  void add(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (gathered_.empty()) offset_ = offset;
    gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
    if (gathered_.size() >= kGathered) write();
  }
  void write() {
    if (!gathered_.empty()) sink_.write(tensor_, offset_, gathered_);
    gathered_.clear();
  }

 private:
  Sink& sink_;
  std::size_t tensor_;
  std::uint64_t offset_ = 0;
  std::vector<std::byte> gathered_;
};

}  // namespace

void SplitRows::write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
  const auto& odd = target_[tensor].odd_rows;
  if (!odd) return sink_.write(tensor, offset, bytes);
  const std::uint64_t left_in_row = odd->row_bytes - offset % odd->row_bytes;
  if (bytes.size() <= left_in_row) {  // no need to gather
    const std::uint64_t row = offset / odd->row_bytes;
    const std::size_t half = row % 2 == 0 ? tensor : odd->tensor;
    return sink_.write(half, offset - (row + row % 2) / 2 * odd->row_bytes, bytes);
  }
  std::array<Gatherer, 2> halves = {Gatherer(sink_, tensor), Gatherer(sink_, odd->tensor)};
  while (!bytes.empty()) {
    const std::uint64_t row = offset / odd->row_bytes;
    const std::uint64_t in_row = offset % odd->row_bytes;
    const std::size_t count = std::min<std::uint64_t>(bytes.size(), odd->row_bytes - in_row);
    halves[row % 2].add(row / 2 * odd->row_bytes + in_row, bytes.first(count));
    bytes = bytes.subspan(count);
    offset += count;
  }
  for (Gatherer& half : halves) half.write();
}

}  // namespace mxferry::internal
