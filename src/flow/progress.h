#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>

namespace mxferry::internal {

// Adds up the bytes that workers have processed and reports the sum, at most twenty times a second.
// Thread-safe.
class Progress {
 public:
  // `report` may be empty, must outlive this object, and is never called concurrently.
  explicit Progress(const std::function<void(std::uint64_t bytes)>& report) : report_(report) {}

  void add(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    bytes_ += bytes;
    constexpr std::chrono::milliseconds kInterval(50);
    const auto now = std::chrono::steady_clock::now();
    if (!report_ || now - last_ < kInterval) return;
    last_ = now;
    report_(bytes_);
  }

 private:
  const std::function<void(std::uint64_t)>& report_;
  std::mutex mutex_;
  std::uint64_t bytes_ = 0;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace mxferry::internal
