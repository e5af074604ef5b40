#include "flow/read_back.h"

#include <algorithm>
#include <array>
#include <string>

#include "mxferry/error.h"

namespace mxferry::internal {

void ReadBack::write(std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
  const StoredTensor& stored = catalog_[tensor];
  const auto& [file, borders] = *files_[stored.shard];
  std::array<std::byte, std::size_t{64} << 10> buffer;
  for (std::size_t done = 0; done < bytes.size();) {
    const auto part = std::span(buffer).first(std::min(buffer.size(), bytes.size() - done));
    file.read(stored.offset + offset + done, part);
    if (borders) borders->overlay(stored.offset + offset + done, part);
    const auto [found, expected] = std::ranges::mismatch(part, bytes.subspan(done, part.size()));
    if (found != part.end()) {
      const auto place = static_cast<std::uint64_t>(found - part.begin());
      throw Error(ErrorCode::verification_failed,
                  {.problem = "the file does not hold what was written to it, at byte " +
                              std::to_string(offset + done + place) + " of the tensor",
                   .file = file.path(),
                   .tensor = stored.name,
                   .expected = std::to_string(std::to_integer<int>(*expected)),
                   .found = std::to_string(std::to_integer<int>(*found)),
                   .advice = "Check the disk and the memory of this machine"});
    }
    done += part.size();
  }
}

}  // namespace mxferry::internal
