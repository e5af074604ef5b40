#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "fuzz/targets.h"

namespace mxferry::internal::fuzz {

// Wide enough for every product of sizes that may come up.
__extension__ typedef unsigned __int128 Wide;  // NOLINT(modernize-use-using)

// Ends the process where a promise is broken: what a fuzzer takes for a crash.
inline void require(bool kept, const char* promise) {
  if (kept) return;
  std::fprintf(stderr, "broken: %s\n", promise);
  std::abort();
}

inline std::string text_of(Input input) {
  return {input.begin(), input.end()};
}

// Takes choices and data from the front of an input. At its end every choice is the first one.
class Choices {
 public:
  explicit Choices(Input input) : rest_(input) {}

  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }
  bool flag() { return byte() % 2 != 0; }

  // 0 to count - 1; count is at most 65,536.
  std::size_t below(std::size_t count) {
    const std::size_t low = byte();
    return (count > 256 ? low | static_cast<std::size_t>(byte()) << 8 : low) % count;
  }

  template <typename Container>
  const auto& one_of(const Container& container) {
    return container[below(std::size(container))];
  }

  Input rest() const { return rest_; }

  // Fills with what is left, and from there on with numbers that it decides.
  void fill(std::span<std::uint8_t> out) {
    const std::size_t taken = std::min(out.size(), rest_.size());
    std::copy_n(rest_.begin(), taken, out.begin());
    rest_ = rest_.subspan(taken);
    for (std::size_t i = 0; i < out.size(); ++i) {
      state_ = state_ * 6364136223846793005U + 1442695040888963407U + out[i];
      if (i >= taken) out[i] = static_cast<std::uint8_t>(state_ >> 56);
    }
  }

 private:
  Input rest_;
  std::uint64_t state_ = 1;
};

}  // namespace mxferry::internal::fuzz
