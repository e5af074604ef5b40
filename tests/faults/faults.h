#pragma once

#include <atomic>

// What the files of the preloaded library share.
namespace faults {

extern std::atomic<long> calls;        // of the system, on watched files
extern std::atomic<long> allocations;  // since the first of them

// 0 where the variable is not set.
long number_in(const char* variable);

}  // namespace faults
