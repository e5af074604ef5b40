#include "flow/split_rows.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "tests/flow/in_memory.h"

namespace mxferry::internal {
namespace {

constexpr std::size_t kRows = 6;
constexpr std::size_t kRowBytes = 5;

std::vector<std::byte> numbers(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i + 1);
  return bytes;
}

TEST(SplitRows, PutsEveryRangeInItsPlace) {
  const Catalog target = {
      {.name = "gate", .shape = {}, .byte_count = 15, .odd_rows = OddRows{1, kRowBytes}},
      {.name = "up", .shape = {}, .byte_count = 15},
      {.name = "other", .shape = {}, .byte_count = 30}};
  const std::vector<std::byte> all = numbers(kRows * kRowBytes);
  for (std::size_t begin = 0; begin <= all.size(); ++begin) {
    for (std::size_t end = begin; end <= all.size(); ++end) {
      testing::MemorySink memory(target, 1);
      SplitRows sink(memory, target);
      sink.write(0, begin, std::span(all).subspan(begin, end - begin));
      sink.write(2, begin, std::span(all).subspan(begin, end - begin));
      for (std::size_t i = 0; i < all.size(); ++i) {
        const std::byte expected = begin <= i && i < end ? all[i] : std::byte{};
        const std::size_t row = i / kRowBytes;
        EXPECT_EQ(memory.tensors()[row % 2][row / 2 * kRowBytes + i % kRowBytes], expected);
        EXPECT_EQ(memory.tensors()[2][i], expected);
      }
    }
  }
}

}  // namespace
}  // namespace mxferry::internal
