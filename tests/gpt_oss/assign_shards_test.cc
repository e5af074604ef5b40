#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <vector>

#include "gpt_oss/plan.h"

namespace mxferry::internal {
namespace {

std::size_t assign(std::vector<StoredTensor>& tensors, std::uint64_t limit) {
  std::vector<StoredTensor*> order;
  for (StoredTensor& tensor : tensors) order.push_back(&tensor);
  return assign_shards(order, limit);
}

TEST(AssignShards, FillsEachAsFarAsItGoes) {
  struct Row {
    std::vector<std::uint64_t> sizes;
    std::uint64_t limit;
    std::vector<std::size_t> shards;
  };
  const std::vector<Row> table = {
      {{}, 10, {}},
      {{4, 6, 1}, 10, {0, 0, 1}},
      {{20, 1, 9, 1}, 10, {0, 1, 1, 2}},
      {{1, 20, 20, 1}, 10, {0, 1, 2, 3}},
      {{0, 10, 0, 1}, 10, {0, 0, 0, 1}},
      {{UINT64_MAX, UINT64_MAX}, 1, {0, 1}},
      {{UINT64_MAX - 1, 1, 1}, UINT64_MAX, {0, 0, 1}},
  };
  for (const Row& row : table) {
    std::vector<StoredTensor> tensors(row.sizes.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].byte_count = row.sizes[i];
    const std::size_t count = assign(tensors, row.limit);
    EXPECT_EQ(count, row.shards.empty() ? 1 : row.shards.back() + 1);
    for (std::size_t i = 0; i < tensors.size(); ++i) EXPECT_EQ(tensors[i].shard, row.shards[i]);
  }
}

RC_GTEST_PROP(AssignShards, KeepsTheOrderAndTheLimit, ()) {
  const auto sizes =
      *rc::gen::container<std::vector<std::uint64_t>>(rc::gen::inRange<std::uint64_t>(0, 40));
  const auto limit = *rc::gen::inRange<std::uint64_t>(1, 60);
  std::vector<StoredTensor> tensors(sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) tensors[i].byte_count = sizes[i];
  const std::size_t count = assign(tensors, limit);
  std::vector<std::uint64_t> filled(count);
  std::vector<std::size_t> members(count);
  std::size_t last = 0;
  for (const StoredTensor& tensor : tensors) {
    RC_ASSERT(tensor.shard == last || tensor.shard == last + 1);
    // A new shard only where the tensor did not fit into the old one.
    if (tensor.shard != last) RC_ASSERT(filled[last] + tensor.byte_count > limit);
    last = tensor.shard;
    filled[tensor.shard] += tensor.byte_count;
    ++members[tensor.shard];
  }
  RC_ASSERT(count == last + 1);
  for (std::size_t i = 0; i < count; ++i) RC_ASSERT(filled[i] <= limit || members[i] == 1);
}

}  // namespace
}  // namespace mxferry::internal
