#pragma once

#include <cstddef>
#include <memory>

namespace mxferry::internal {

// Fresh memory of unspecified content, 64-byte aligned; from 2 MiB on aligned to and advised for
// huge pages (touching fresh 4 KiB pages costs more than decoding into them). Throws
// Error(not_enough_memory).
std::shared_ptr<std::byte> allocate_bytes(std::size_t size);

}  // namespace mxferry::internal
