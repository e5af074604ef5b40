#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

#include "base/file.h"

namespace mxferry::internal {

// Bytes of memory that read_pieces() uses.
inline constexpr std::size_t kPieceBytes = std::size_t{256} << 10;

// Passes bytes [begin, end) of a file to take(), piece by piece and in order. Throws what
// File::read() throws, and Error(cancelled) on request.
void read_pieces(const File& file, std::uint64_t begin, std::uint64_t end,
                 const std::stop_token& stop,
                 const std::function<void(std::span<const std::byte>)>& take);

}  // namespace mxferry::internal
