#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mxferry::cli {

// The bytes that "5GB", "512 MiB" or "1000" mean: KB, MB, GB, TB are powers of 1000, KiB and so on
// of 1024, in either case. nullopt for anything else, 0 and more than 64 bits included.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;

}  // namespace mxferry::cli
