#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mxferry/gpt_oss_state_dict_adapter.h"

namespace mxferry::internal {

// The name with the first suffix that fits replaced; nullopt if none fits.
std::optional<std::string> mapped_name(std::string_view name, const KeyMapping& mapping);

// Throws Error(name_collision) if the mapping gives two of the names the same name. The names must
// be distinct.
void check_key_mapping(const std::vector<std::string>& names, const KeyMapping& mapping);

// Throws Error(name_collision): tensors `first` and `second` would both get `name`.
[[noreturn]] void fail_collision(std::string_view name, std::string_view first,
                                 std::string_view second);

}  // namespace mxferry::internal
