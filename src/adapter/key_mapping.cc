#include "adapter/key_mapping.h"

#include <unordered_map>
#include <utility>

#include "mxferry/error.h"

namespace mxferry::internal {

std::optional<std::string> mapped_name(std::string_view name, const KeyMapping& mapping) {
  for (const auto& [suffix, replacement] : mapping) {
    if (!name.ends_with(suffix)) continue;
    name.remove_suffix(suffix.size());
    return std::string(name) + replacement;
  }
  return std::nullopt;
}

void fail_collision(std::string_view name, std::string_view first, std::string_view second) {
  throw Error(ErrorCode::name_collision,
              {.problem = "two tensors would get this name",
               .tensor = std::string(name),
               .expected = "one of them",
               .found = "'" + std::string(first) + "' and '" + std::string(second) + "'",
               .advice = "Remove or rename one of the two first"});
}

void check_key_mapping(const std::vector<std::string>& names, const KeyMapping& mapping) {
  std::unordered_map<std::string, std::string_view> origins;
  for (const std::string& name : names) {
    const auto [origin, is_new] =
        origins.try_emplace(mapped_name(name, mapping).value_or(name), name);
    if (!is_new) fail_collision(origin->first, origin->second, name);
  }
}

}  // namespace mxferry::internal

namespace mxferry {

using namespace internal;

void GPTOSSStateDictAdapter::apply_key_mapping(StateDict& state_dict, const KeyMapping& mapping) {
  const std::vector<std::string> names = state_dict.names();
  check_key_mapping(names, mapping);
  // First take out every tensor to be renamed: a new name may be another's old one.
  StateDict renamed;
  for (const std::string& name : names) {
    if (std::optional<std::string> target = mapped_name(name, mapping)) {
      renamed.set(*std::move(target), state_dict.pop(name));
    }
  }
  for (const auto& [name, tensor] : renamed) state_dict.set(name, tensor);
}

}  // namespace mxferry
