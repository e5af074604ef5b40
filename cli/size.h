#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mxferry::cli {

// Parses sizes in bytes such as "5GB", "512 MiB" or "1000": KB, MB, GB, TB are powers of 1000, KiB
// and so on of 1024, in either case. nullopt for anything else, including 0 and sizes of more than
// 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;

}  // namespace mxferry::cli
