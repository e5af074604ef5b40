#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>

namespace mxferry::internal {

// The threads that this process may use at once, at least 1: its CPU affinity, or the quota of its
// control groups at the first call where that is less. Where `processes` such as this share the
// machine, its part of that, unless each is bound to processors of its own.
int available_threads(int processes = 1);

// The part of it that is arithmetic: a quota of 1.5 CPUs keeps two threads busy.
int threads_for(int cpus, std::optional<double> quota) noexcept;

// Runs body(worker, stop) for worker = 0 .. threads - 1 at once, the first on the calling thread,
// and returns when all have returned. `stop` is requested when `outer` is, or when a body throws;
// the first exception is rethrown. A body that returns early because of `outer` need not throw: the
// caller sees Error(cancelled).
void run_workers(int threads, std::stop_token outer,
                 const std::function<void(int worker, std::stop_token stop)>& body);

// body(i) for every i in [0, count), in no promised order, on `threads` threads. Errors as
// run_workers().
void parallel_for(int threads, std::int64_t count, const std::function<void(std::int64_t i)>& body);

}  // namespace mxferry::internal
