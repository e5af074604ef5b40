#pragma once

#include <string>
#include <string_view>

namespace mxferry {

// The text with control characters, DEL and bytes that are not UTF-8 written as \xNN, so that an
// untrusted name can be shown on a terminal.
std::string printable(std::string_view text);

// Whether the bytes are well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool is_utf8(std::string_view text) noexcept;

}  // namespace mxferry
