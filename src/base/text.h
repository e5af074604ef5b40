#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mxferry::internal {

// Whether the bytes are well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool is_utf8(std::string_view text) noexcept;

// Formats 9216000 as "9,216,000".
std::string grouped(std::uint64_t number);

}  // namespace mxferry::internal
