#pragma once

#include <atomic>
#include <csignal>
#include <stop_token>
#include <thread>

namespace mxferry::cli {

// Turns the first SIGINT, SIGTERM or SIGHUP into a request to stop, the second into the process's
// end; those that the caller ignores stay ignored. A closed pipe and a limit on file sizes become
// errors of the writes that meet them. Must be made before any other thread, which then inherits
// the blocked signals.
class SignalStop {
 public:
  SignalStop();
  ~SignalStop();
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  // The first signal, 0 before one has come.
  int signal() const noexcept { return signal_; }

 private:
  sigset_t signals_;
  std::stop_source stop_;
  std::atomic<int> signal_ = 0;
  std::jthread waiter_;
};

}  // namespace mxferry::cli
