#include "base/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <string>

#include "mxferry/error.h"

namespace mxferry::internal {

std::shared_ptr<std::byte> allocate_bytes(std::size_t size) {
  constexpr std::size_t kCacheLine = 64;
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const std::size_t alignment = size >= kHugePage ? kHugePage : kCacheLine;
  void* memory = nullptr;
  if (::posix_memalign(&memory, alignment, size == 0 ? 1 : size) != 0) {
    throw Error(ErrorCode::not_enough_memory,
                {.problem = "the system has no " + std::to_string(size) + " bytes of memory left",
                 .advice = "Use fewer threads or a smaller --max-memory"});
  }
  // Only advice: without huge pages the memory works too, but slower.
  if (alignment == kHugePage) (void)::madvise(memory, size, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), [](std::byte* p) { std::free(p); }};
}

}  // namespace mxferry::internal
