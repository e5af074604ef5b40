#include "checkpoint/weights_folder.h"

#include <algorithm>
#include <system_error>

#include "base/file.h"
#include "checkpoint/folder.h"
#include "checkpoint/folder_hints.h"
#include "checkpoint/shard_index.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConsolidated = "consolidated";

bool has_weights(const fs::path& folder) {
  if (!is_folder(folder)) return false;
  return std::ranges::any_of(list_folder(folder), [](const std::string& name) {
    return is_shard_name(name) || name == kIndexName;
  });
}

// Whether a folder below the given one holds weights and is not a link that leaves it.
bool offers_weights(const fs::path& given, const fs::path& folder) {
  std::error_code error;
  const fs::path target = fs::canonical(folder, error);
  return !error && link_stays_inside(given, target) && has_weights(folder);
}

}  // namespace

fs::path find_weights(const fs::path& given, std::vector<Problem>& warnings) {
  fs::path found = given;
  if (!has_weights(given)) {
    for (const fs::path& folder :
         {given / "model", given / "model" / kConsolidated, given / kConsolidated}) {
      if (!offers_weights(given, folder)) continue;
      found = folder;
      break;
    }
  }
  if (offers_weights(found, found / kConsolidated)) {
    warnings.push_back({Severity::warning, ErrorCode::not_a_checkpoint, kConsolidated, "",
                        "this folder holds weights too; they are not read. Give it by its name to "
                        "read it instead of the files beside it"});
  }
  return found;
}

fs::path find_side_folder(const fs::path& weights) {
  constexpr const char* kConfig = "config.json";
  const fs::path beside = weights / ".hf_metadata";
  std::error_code error;
  const fs::path target = fs::canonical(beside, error);
  const bool may_be_read = !error && link_stays_inside(weights, target);
  return may_be_read && is_there(beside / kConfig) && !is_there(weights / kConfig) ? beside
                                                                                   : weights;
}

}  // namespace mxferry::internal
