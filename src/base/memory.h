#pragma once

#include <cstddef>
#include <memory>

namespace mxferry::internal {

// New memory of unspecified content, 64-byte aligned; from 2 MiB up, aligned to huge pages and with
// huge pages advised (touching new 4 KiB pages costs more than decoding into them). Throws
// Error(not_enough_memory).
std::shared_ptr<std::byte> allocate_bytes(std::size_t size);

}  // namespace mxferry::internal
