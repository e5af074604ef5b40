#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/cgroup.h"
#include "flow/tile.h"

namespace mxferry::internal {

// How a conversion keeps within --max-memory.
struct MemoryFit {
  int threads = 1;
  TileLimits limits;
  std::uint64_t peak_memory = 0;  // bytes of the whole process, estimated from above
};

// The bytes of one worker's buffers with these limits.
using ScratchBytes = std::function<std::uint64_t(const TileLimits& limits)>;

// Chooses threads and tile sizes. `threads` 0 means as many as the process may use, fewer where the
// memory does not suffice. `header_bytes`: all headers, source and target. `group_memory`: what the
// control group grants, which ends a process that takes more. Throws Error(not_enough_memory) that
// says what would do.
MemoryFit fit_memory(const ScratchBytes& scratch_bytes, int threads, std::uint64_t max_memory,
                     std::uint64_t header_bytes,
                     std::optional<std::uint64_t> group_memory = cgroup_limits().memory);

}  // namespace mxferry::internal
