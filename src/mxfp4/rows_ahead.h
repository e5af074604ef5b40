#pragma once

#include <cstddef>
#include <cstdint>

namespace mxferry::internal::mxfp4 {

// Prefetches rows that will be read later, one cache line at a time, so that the requests can be
// spread over the work on earlier rows. kLocality is as for __builtin_prefetch: 3 requests the
// first-level cache, 2 the second.
template <int kLocality>
class RowsAhead {
 public:
  RowsAhead(const std::uint8_t* first, std::size_t row_stride, std::size_t row_bytes,
            std::size_t rows) noexcept
      : row_(first), row_stride_(row_stride), row_bytes_(row_bytes), rows_(rows) {}

  bool done() const noexcept { return rows_ == 0; }

  void request_line() noexcept {
    constexpr std::size_t kLine = 64;
    if (done()) return;
    __builtin_prefetch(row_ + offset_, 0, kLocality);
    offset_ += kLine;
    if (offset_ < row_bytes_) return;
    offset_ = 0;
    row_ += row_stride_;
    --rows_;
  }

 private:
  const std::uint8_t* row_;
  std::size_t row_stride_;
  std::size_t row_bytes_;
  std::size_t rows_;
  std::size_t offset_ = 0;
};

}  // namespace mxferry::internal::mxfp4
