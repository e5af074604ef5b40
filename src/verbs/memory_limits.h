#pragma once

#include <cstdint>
#include <vector>

#include "flow/tile.h"
#include "recipe/recipe.h"

namespace mxferry {

// How a conversion keeps within --max-memory.
struct MemoryFit {
  int threads = 1;
  TileLimits limits;
  std::uint64_t peak_memory = 0;  // bytes of the whole process, estimated from above
};

// Chooses threads and tile sizes. `threads` 0 means as many as the process may use, fewer where the
// memory does not suffice. `header_bytes`: all headers, source and target. Throws
// Error(not_enough_memory) that says what would do.
MemoryFit fit_memory(const std::vector<Recipe>& recipes, int threads, std::uint64_t max_memory,
                     std::uint64_t header_bytes);

}  // namespace mxferry
