#pragma once

#include <string_view>

namespace mxferry::internal {

// Whether a file name from an untrusted source stays below its folder: it is neither empty nor
// absolute, contains no NUL, and no component of it is empty, "." or "..".
bool stays_below(std::string_view name) noexcept;

}  // namespace mxferry::internal
