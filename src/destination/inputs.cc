#include "destination/inputs.h"

#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "checkpoint/shard_index.h"
#include "destination/state_folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

// The longest chain of links that the system follows.
constexpr int kMostLinks = 40;

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? "." : parent;
}

bool are_same(const fs::path& one, const fs::path& other) {
  std::error_code error;
  const bool same = fs::equivalent(one, other, error);
  if (error && is_there(one) && is_there(other)) {
    throw Error(ErrorCode::io_error,
                {.problem = "cannot look for it: " + error.message(), .file = one});
  }
  return same;
}

// A destination, with a cache of which folders belong to it: most inputs share a folder.
class Place {
 public:
  explicit Place(const fs::path& folder) : folder_(folder), has_state_(has_state(folder)) {}

  // Follows the links of a path; returns the first link or file that is in the destination, if any.
  std::optional<fs::path> find(fs::path path) {
    for (int links = 0; links < kMostLinks; ++links) {
      const fs::path parent = parent_of(path);
      const auto [known, is_new] = known_.try_emplace(parent);
      if (is_new) known->second = has(parent);
      if (known->second) return path;
      std::error_code error;
      const fs::path target = fs::read_symlink(path, error);
      if (error) return std::nullopt;
      path = target.is_absolute() ? target : parent / target;
    }
    return std::nullopt;
  }

 private:
  // Whether `parent` is the destination itself, or is inside its state folder.
  bool has(const fs::path& parent) const {
    if (are_same(parent, folder_)) return true;
    if (!has_state_) return false;
    std::error_code error;
    const fs::path real = fs::weakly_canonical(parent, error);
    for (fs::path above = real; above.has_relative_path(); above = above.parent_path()) {
      if (are_same(above, state_folder(folder_))) return true;
    }
    return false;
  }

  const fs::path& folder_;
  bool has_state_;
  std::map<fs::path, bool> known_;
};

}  // namespace

Input input_of(std::string what, const SourceCheckpoint& checkpoint,
               const std::vector<std::string>& side_files) {
  Input input{.what = std::move(what), .files = {}};
  for (const ShardFile& shard : checkpoint.folder.shards) {
    input.files.push_back(checkpoint.folder.path / shard.name);
  }
  if (checkpoint.folder.has_index) input.files.push_back(checkpoint.folder.path / kIndexName);
  if (checkpoint.config_text) input.files.push_back(checkpoint.side_folder / "config.json");
  for (const std::string& name : side_files) input.files.push_back(checkpoint.side_folder / name);
  return input;
}

void refuse_inputs_in(const fs::path& destination, const std::vector<Input>& inputs) {
  if (!is_there(destination)) return;
  Place place(destination);
  for (const Input& input : inputs) {
    for (const fs::path& file : input.files) {
      const std::optional<fs::path> found = place.find(file);
      if (!found) continue;
      const bool is_same_folder = *found == file;
      throw Error(
          ErrorCode::invalid_argument,
          {.problem = is_same_folder ? input.what + " and destination are the same folder"
                                     : "a file of the " + input.what + " is a link to this folder",
           .file = destination,
           .found = is_same_folder ? std::string() : file.string(),
           .advice = "Give a new folder; what is read is never changed"});
    }
  }
}

}  // namespace mxferry::internal
