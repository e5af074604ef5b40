#include "long_run.h"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace mxferry::python {
namespace {

namespace nb = nanobind;

// The longest that a signal waits to be handled.
constexpr std::chrono::milliseconds kSignalWait(50);

// Messages from the run to the thread that waits for it.
class News {
 public:
  struct Item {
    std::optional<ConvertProgress> progress;
    bool ended = false;
  };

  void post(const ConvertProgress& progress) {
    const std::lock_guard lock(mutex_);
    item_.progress = progress;
    changed_.notify_one();
  }

  void end() {
    const std::lock_guard lock(mutex_);
    item_.ended = true;
    changed_.notify_one();
  }

  // Returns the newest progress since the last call, after kSignalWait at the latest.
  Item next() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kSignalWait, [&] { return item_.ended || item_.progress; });
    return {std::exchange(item_.progress, std::nullopt), item_.ended};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Item item_;
};

// Calls Python, so the GIL must be held.
void deliver(const News::Item& item, const nb::object& progress) {
  if (item.progress && !progress.is_none()) {
    progress(item.progress->bytes_done, item.progress->bytes_total);
  }
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

}  // namespace

void run_long(const nb::object& progress, const std::function<void(const LongRun&)>& work) {
  News news;
  std::stop_source stop;
  std::exception_ptr failed;  // the run's exception
  std::exception_ptr raised;  // Python's exception
  std::thread worker([&] {
    try {
      work({[&](const ConvertProgress& now) { news.post(now); }, stop.get_token()});
    } catch (...) {
      failed = std::current_exception();
    }
    news.end();
  });
  for (bool ended = false; !ended;) {
    News::Item item;
    {
      const nb::gil_scoped_release released;
      item = news.next();
    }
    ended = item.ended;
    if (raised) continue;
    try {
      deliver(item, progress);
    } catch (...) {
      raised = std::current_exception();
      stop.request_stop();
    }
  }
  worker.join();
  if (raised) std::rethrow_exception(raised);
  if (failed) std::rethrow_exception(failed);
}

}  // namespace mxferry::python
