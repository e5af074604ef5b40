#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "gpt_oss/plan.h"

namespace mxferry {
namespace {

TEST(NaturalLess, OrdersAsAPersonWould) {
  const std::vector<std::string> ascending = {"",
                                              "a",
                                              "a.2",
                                              "a.2.b",
                                              "a.10",
                                              "a.10.b",
                                              "a.b",
                                              "a00",
                                              "a0",
                                              "a1",
                                              "a01b",
                                              "a1b",
                                              "a99999999999999999998",
                                              "a99999999999999999999",
                                              "b",
                                              "lm_head.weight",
                                              "model.layers.2.x",
                                              "model.layers.10.x"};
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      if (ascending[i] == "a00" || ascending[j] == "a00") continue;  // below
      EXPECT_EQ(natural_less(ascending[i], ascending[j]), i < j)
          << ascending[i] << " and " << ascending[j];
    }
  }
  EXPECT_NE(natural_less("a00", "a0"), natural_less("a0", "a00"));
}

// Names of few characters, so that many are alike.
std::string any_name() {
  return *rc::gen::container<std::string>(
      rc::gen::element('0', '0', '1', '2', '9', '.', 'a', 'b', '\xC3'));
}

RC_GTEST_PROP(NaturalLess, IsAStrictTotalOrder, ()) {
  const std::string a = any_name();
  const std::string b = any_name();
  const std::string c = any_name();
  RC_ASSERT(!natural_less(a, a));
  RC_ASSERT((a == b) == (!natural_less(a, b) && !natural_less(b, a)));
  RC_ASSERT(!(natural_less(a, b) && natural_less(b, a)));
  if (natural_less(a, b) && natural_less(b, c)) RC_ASSERT(natural_less(a, c));
}

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
}  // namespace mxferry
