#include "base/read_pieces.h"

#include <algorithm>
#include <memory>

#include "mxferry/error.h"

namespace mxferry::internal {

void read_pieces(const File& file, std::uint64_t begin, std::uint64_t end,
                 const std::stop_token& stop,
                 const std::function<void(std::span<const std::byte>)>& take) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
  while (begin < end) {
    if (stop.stop_requested()) {
      throw Error(ErrorCode::cancelled, {.problem = "stopped on request"});
    }
    const std::span<std::byte> piece(buffer.get(),
                                     std::min<std::uint64_t>(kPieceBytes, end - begin));
    file.read(begin, piece);
    take(piece);
    begin += piece.size();
  }
}

}  // namespace mxferry::internal
