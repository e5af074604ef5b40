#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "printing.h"

namespace mxferry::cli {

std::string progress_line(std::uint64_t done, std::uint64_t total, double seconds) {
  constexpr std::size_t kBarWidth = 24;
  const double share =
      total == 0 ? 1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto filled = static_cast<std::size_t>(share * kBarWidth);
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const std::string left =
      done == 0
          ? "-:--"
          : human_seconds(static_cast<double>(total - std::min(done, total)) / std::max(rate, 1.0));
  return fmt::format("[{}] {:3.0f} %  {} of {}  {:.2f} GB/s  {} left", bar, share * 100,
                     human_bytes(done), human_bytes(total), rate / 1e9, left);
}

ProgressBar::ProgressBar(bool quiet)
    : quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_line_(start_) {}

ProgressBar::~ProgressBar() {
  clear();
}

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
  if (quiet_) return;
  const Clock::time_point now = Clock::now();
  const std::string line =
      progress_line(done, total, std::chrono::duration<double>(now - start_).count());
  if (terminal_) {
    std::fputs(("\r\x1b[K" + line).c_str(), stderr);
    std::fflush(stderr);
    drawn_ = true;
    return;
  }
  constexpr std::chrono::seconds kInterval(10);
  if (now - last_line_ < kInterval) return;
  last_line_ = now;
  std::fputs((line + "\n").c_str(), stderr);
}

void ProgressBar::clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace mxferry::cli
