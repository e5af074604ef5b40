#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mxferry/gpt_oss_state_dict_adapter.h"

namespace mxferry::internal {

// The name with the first suffix that fits replaced; nullopt where none fits.
std::optional<std::string> mapped_name(std::string_view name, const KeyMapping& mapping);

// Throws Error(name_collision) where the mapping gives two of the names, all different, one name.
void check_key_mapping(const std::vector<std::string>& names, const KeyMapping& mapping);

// Both names come from the two tensors named.
[[noreturn]] void fail_collision(std::string_view name, std::string_view first,
                                 std::string_view second);

}  // namespace mxferry::internal
