#include "destination/snapshot.h"

#include "base/file.h"
#include "checkpoint/folder.h"
#include "destination/state_folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {

namespace fs = std::filesystem;

Snapshot snapshot_of(const fs::path& folder) {
  Snapshot snapshot;
  for (const std::string& name : list_folder(folder)) {
    try {
      if (!is_file(folder / name)) continue;
      const File file = File::open_for_reading(folder / name);
      snapshot.emplace(name, file.size(), file.modified());
    } catch (const Error&) {
      continue;  // just removed, or unreadable, which its readers report
    }
  }
  if (is_there(state_folder(folder) / kPublicationName)) snapshot.emplace(kPublicationName, 0, 0);
  return snapshot;
}

void require_unchanged(const fs::path& folder, const Snapshot& before) {
  if (snapshot_of(folder) == before) return;
  throw Error(ErrorCode::destination_in_use,
              {.problem = "the folder was changed while it was read",
               .file = folder,
               .advice = "Wait for the process that changes it, then run this again"});
}

void look_at(const fs::path& folder, const std::function<void()>& look) {
  const Snapshot before = snapshot_of(folder);
  try {
    look();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) require_unchanged(folder, before);
    throw;
  }
  require_unchanged(folder, before);
}

}  // namespace mxferry::internal
