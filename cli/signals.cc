#include "signals.h"

#include <unistd.h>

#include <csignal>
#include <ctime>

namespace mxferry::cli {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

SignalStop::SignalStop() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiter_ = std::jthread([this, set](std::stop_token done) {
    constexpr timespec kPoll = {.tv_sec = 0, .tv_nsec = 100'000'000};
    while (!done.stop_requested()) {
      const int received = sigtimedwait(&set, nullptr, &kPoll);
      if (received <= 0) continue;
      if (signal_ != 0) ::_exit(128 + received);
      signal_ = received;
      stop_.request_stop();
    }
  });
}

SignalStop::~SignalStop() {
  waiter_.request_stop();
  waiter_.join();
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace mxferry::cli
