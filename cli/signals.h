#pragma once

#include <atomic>
#include <csignal>
#include <stop_token>
#include <thread>

namespace mxferry::cli {

// Turns the first SIGINT, SIGTERM or SIGHUP into a request to stop; the second ends the process.
// Signals that the caller ignores stay ignored. A closed pipe or an exceeded file size limit
// becomes an error of the write. Must be constructed before any other thread, so that threads
// inherit the blocked signals.
class SignalStop {
 public:
  SignalStop();
  ~SignalStop();
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  // The first signal received, or 0.
  int signal() const noexcept { return signal_; }

 private:
  sigset_t signals_;
  std::stop_source stop_;
  std::atomic<int> signal_ = 0;
  std::jthread waiter_;
};

}  // namespace mxferry::cli
