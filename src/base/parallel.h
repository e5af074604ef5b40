#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>

namespace mxferry::internal {

// The number of threads that this process may run at once, at least 1: its CPU affinity, or the
// quota of its control groups (as of the first call) if that is less. If `processes` processes like
// this one share the machine, its share of that number, unless each is bound to its own processors.
int available_threads(int processes = 1);

// The arithmetic of available_threads(): a quota of 1.5 CPUs keeps two threads busy.
int threads_for(int cpus, std::optional<double> quota) noexcept;

// Runs body(worker, stop) for worker = 0 .. threads - 1 concurrently, the first on the calling
// thread, and returns when all have returned. `stop` is requested when `outer` is, or when a body
// throws; the first exception is rethrown. A body that returns early because of `outer` need not
// throw: the caller gets Error(cancelled). Throws Error(io_error) if a thread cannot be started.
void run_workers(int threads, std::stop_token outer,
                 const std::function<void(int worker, std::stop_token stop)>& body);

// Runs body(i) for every i in [0, count), in no particular order, on up to `threads` threads.
// Errors as in run_workers().
void parallel_for(int threads, std::int64_t count, const std::function<void(std::int64_t i)>& body);

}  // namespace mxferry::internal
