#include "base/memory.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tests/base/expect_error.h"

// AddressSanitizer or ThreadSanitizer, where one is there, ends the process at an allocation that
// cannot succeed unless it is told otherwise. They chose the names of these functions.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "allocator_may_return_null=1";
}
// NOLINTEND(bugprone-reserved-identifier)

namespace mxferry::internal::testing {
namespace {

TEST(AllocateBytes, GivesAlignedMemoryThatCanBeWritten) {
  for (const std::size_t size : {0, 1, 63, 64, 1 << 20, 2 << 20, (2 << 20) + 1}) {
    const auto memory = allocate_bytes(size);
    ASSERT_NE(memory, nullptr);
    const std::size_t alignment = size >= (2u << 20) ? 2u << 20 : 64;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % alignment, 0u) << size;
    std::memset(memory.get(), 0xAA, size);
  }
}

TEST(AllocateBytes, RefusesMoreThanThereIs) {
  EXPECT_ERROR(ErrorCode::not_enough_memory,
               allocate_bytes(std::numeric_limits<std::size_t>::max() / 4));
}

}  // namespace
}  // namespace mxferry::internal::testing
