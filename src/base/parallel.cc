#include "base/parallel.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cgroup.h"
#include "mxferry/error.h"

namespace mxferry::internal {

int available_threads(int processes) {
  const auto online = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool is_known = ::sched_getaffinity(0, sizeof set, &set) == 0;
  const int cpus = is_known ? std::max(1, CPU_COUNT(&set)) : online;
  // Read once: reading it takes longer than decoding a small tensor.
  static const std::optional<double> quota = cgroup_limits().cpus;
  const int threads = threads_for(cpus, quota);
  return cpus < online ? threads : std::max(1, threads / std::max(1, processes));
}

int threads_for(int cpus, std::optional<double> quota) noexcept {
  if (!quota || *quota >= cpus) return cpus;
  return std::max(1, static_cast<int>(std::ceil(*quota)));
}

void run_workers(int threads, std::stop_token outer,
                 const std::function<void(int, std::stop_token)>& body) {
  std::stop_source stop;
  const std::stop_callback forward(outer, [&] { stop.request_stop(); });
  std::mutex mutex;
  std::exception_ptr first;
  const auto run = [&](int worker) {
    try {
      body(worker, stop.get_token());
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first) first = std::current_exception();
      stop.request_stop();
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (int worker = 1; worker < threads; ++worker) others.emplace_back(run, worker);
      run(0);
    } catch (const std::system_error& error) {
      stop.request_stop();
      throw Error(ErrorCode::io_error,
                  {.problem = std::string("cannot start a thread: ") + error.what(),
                   .advice = "Use fewer threads"});
    }
  }
  if (first) std::rethrow_exception(first);
  if (outer.stop_requested()) throw Error(ErrorCode::cancelled, {.problem = "stopped on request"});
}

void parallel_for(int threads, std::int64_t count, const std::function<void(std::int64_t)>& body) {
  std::atomic<std::int64_t> next = 0;
  const int useful = static_cast<int>(std::clamp<std::int64_t>(count, 1, std::max(1, threads)));
  run_workers(useful, {}, [&](int, std::stop_token stop) {
    while (!stop.stop_requested()) {
      const std::int64_t i = next.fetch_add(1);
      if (i >= count) return;
      body(i);
    }
  });
}

}  // namespace mxferry::internal
