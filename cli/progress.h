#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mxferry::cli {

// Shows a conversion's progress on stderr: a bar that redraws itself on a terminal, a plain line
// every ten seconds elsewhere.
class ProgressBar {
 public:
  explicit ProgressBar(bool quiet);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(std::uint64_t done, std::uint64_t total);

  // Wipes the bar off the terminal.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  bool quiet_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point last_line_;
};

// The line to show, at most 79 columns: bar, bytes, GB/s, time left.
std::string progress_line(std::uint64_t done, std::uint64_t total, double seconds);

}  // namespace mxferry::cli
