#pragma once

#include <string_view>

namespace mxferry::internal {

// Whether a name that somebody else has chosen can only mean a file below the folder that it is
// meant for: neither absolute nor empty, and nothing in it is ".", ".." or empty.
bool stays_below(std::string_view name) noexcept;

}  // namespace mxferry::internal
