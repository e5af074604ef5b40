#include "signals.h"

#include <unistd.h>

#include <csignal>

namespace mxferry::cli {
namespace {

// Wakes the waiter thread, so that a command can end without a signal.
constexpr int kWake = SIGUSR1;

bool is_ignored(int signal) noexcept {
  struct sigaction action{};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t stop_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    if (!is_ignored(signal)) sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

SignalStop::SignalStop() : signals_(stop_signals()) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  sigaddset(&signals_, kWake);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  waiter_ = std::jthread([this](std::stop_token done) {
    while (!done.stop_requested()) {
      const int received = sigwaitinfo(&signals_, nullptr);
      if (received <= 0 || received == kWake) continue;
      if (signal_ != 0) ::_exit(128 + received);
      signal_ = received;
      stop_.request_stop();
    }
  });
}

SignalStop::~SignalStop() {
  waiter_.request_stop();
  pthread_kill(waiter_.native_handle(), kWake);
  waiter_.join();
  pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
}

}  // namespace mxferry::cli
