#include "verbs/memory_limits.h"

#include <algorithm>
#include <string>

#include "base/parallel.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
// The program and its libraries (measured at 7 MB), and the memory that parsed headers and plans
// take per byte of header.
constexpr std::uint64_t kProcess = 12 * kMiB;
constexpr std::uint64_t kPerHeaderByte = 8;
// A thread's stack and the allocator's arena for it.
constexpr std::uint64_t kPerThread = kMiB;
// Smaller tiles would make conversions too slow.
constexpr std::size_t kSmallestSource = std::size_t{128} << 10;

TileLimits starting_limits(int threads) {
  TileLimits limits;
  // Twice as many tiles as threads balances the load when there are few experts.
  limits.parts = threads == 1 ? 1 : 2 * threads;
  return limits;
}

}  // namespace

MemoryFit fit_memory(const ScratchBytes& scratch_bytes, int threads, std::uint64_t max_memory,
                     std::uint64_t header_bytes, std::optional<std::uint64_t> group_memory) {
  const bool is_group_less = group_memory && *group_memory < max_memory;
  if (is_group_less) max_memory = *group_memory;
  const std::uint64_t fixed = kProcess + kPerHeaderByte * header_bytes;
  const int wanted = threads == 0 ? available_threads() : threads;
  std::uint64_t smallest = 0;
  for (int count = wanted; count >= 1; count = count / 2) {
    TileLimits limits = starting_limits(count);
    for (; limits.source_bytes >= kSmallestSource;
         limits.source_bytes /= 2, limits.target_bytes /= 2) {
      smallest = fixed + static_cast<std::uint64_t>(count) * (scratch_bytes(limits) + kPerThread);
      if (smallest <= max_memory) return {count, limits, smallest};
    }
    if (threads != 0) break;  // the caller requires this many
  }
  const std::string advice =
      is_group_less ? "Give the control group (container, job) more memory" : "Allow more memory";
  throw Error(ErrorCode::not_enough_memory,
              {.problem = std::string("the work does not fit into ") +
                          (is_group_less ? "the memory of the control group" : "--max-memory"),
               .expected = "at least " + std::to_string(smallest) + " bytes for " +
                           std::to_string(threads == 0 ? 1 : threads) + " thread(s)",
               .found = std::to_string(max_memory),
               .advice = advice + (threads > 1 ? ", or use fewer threads" : "")});
}

}  // namespace mxferry::internal
