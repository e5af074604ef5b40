#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/cgroup.h"
#include "flow/tile.h"

namespace mxferry::internal {

// How a conversion stays within --max-memory.
struct MemoryFit {
  int threads = 1;
  TileLimits limits;
  std::uint64_t peak_memory = 0;  // upper bound on the whole process's bytes
};

// The bytes of one worker's buffers under these limits.
using ScratchBytes = std::function<std::uint64_t(const TileLimits& limits)>;

// Chooses the number of threads and the tile sizes. `threads` 0 means as many as the process may
// use, or fewer if memory is short. `header_bytes`: all headers, source and target. `group_memory`:
// the control group's limit, beyond which the system kills the process. Throws
// Error(not_enough_memory), which says how much would suffice.
MemoryFit fit_memory(const ScratchBytes& scratch_bytes, int threads, std::uint64_t max_memory,
                     std::uint64_t header_bytes,
                     std::optional<std::uint64_t> group_memory = cgroup_limits().memory);

}  // namespace mxferry::internal
