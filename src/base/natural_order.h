#pragma once

#include <string_view>

namespace mxferry::internal {

// Orders names as a person would: runs of digits by value, so that layer 2 comes before layer 10. A
// strict total order.
bool natural_less(std::string_view a, std::string_view b) noexcept;

}  // namespace mxferry::internal
