#include "checkpoint/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"
#include "checkpoint/folder.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEntryPrefix = "models--";

// An environment variable; empty if it is not set. A leading ~ is replaced by the home folder.
fs::path from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr) return {};
  const std::string_view text = value;
  const char* home = std::getenv("HOME");
  if (home != nullptr && (text == "~" || text.starts_with("~/"))) {
    return std::string(home) + std::string(text.substr(1));
  }
  return text;
}

// Source: huggingface_hub/constants.py.
fs::path hub_cache() {
  if (fs::path path = from_environment("HF_HUB_CACHE"); !path.empty()) return path;
  if (const fs::path path = from_environment("HF_HOME"); !path.empty()) return path / "hub";
  if (const fs::path path = from_environment("XDG_CACHE_HOME"); !path.empty()) {
    return path / "huggingface/hub";
  }
  return from_environment("HOME") / ".cache/huggingface/hub";
}

// "ORG/NAME" or "ORG/NAME@REVISION".
struct HubName {
  std::string organization;
  std::string name;
  std::string revision;  // empty: not given
};

bool is_name_part(std::string_view text) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  return !text.empty() && text.find_first_not_of(kAllowed) == std::string_view::npos &&
         text.front() != '.';
}

// Whether the text may be a branch or tag, "refs/pr/1", or a commit, and stays in its folder.
bool is_revision(std::string_view text) {
  return !text.empty() && text.front() != '/' && text.find("..") == std::string_view::npos &&
         text.find('\0') == std::string_view::npos;
}

std::optional<HubName> parse_hub_name(std::string_view source) {
  const std::size_t slash = source.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::size_t at = std::min(source.find('@'), source.size());
  if (at < slash) return std::nullopt;
  HubName hub_name{.organization = std::string(source.substr(0, slash)),
                   .name = std::string(source.substr(slash + 1, at - slash - 1)),
                   .revision = {}};
  if (!is_name_part(hub_name.organization) || !is_name_part(hub_name.name)) return std::nullopt;
  if (at < source.size()) {
    hub_name.revision = source.substr(at + 1);
    if (!is_revision(hub_name.revision)) return std::nullopt;
  }
  return hub_name;
}

std::vector<std::string> snapshots_of(const fs::path& entry) {
  const fs::path snapshots = entry / "snapshots";
  return is_folder(snapshots) ? list_folder(snapshots) : std::vector<std::string>();
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : ", ") + text;
  return all.empty() ? "none" : all;
}

// The commit that a ref of the entry names; nullopt if there is none.
std::optional<std::string> read_ref(const fs::path& entry, const std::string& ref) {
  const fs::path file = entry / "refs" / ref;
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return std::nullopt;
  constexpr std::uint64_t kLongestRef = 4096;
  std::string commit = read_text_file(file, kLongestRef);
  commit.erase(commit.find_last_not_of(" \t\r\n") + 1);
  if (!is_name_part(commit)) return std::nullopt;
  return commit;
}

// The snapshot of a revision. If none is given, that of "main", or the only snapshot if there is no
// "main".
fs::path find_snapshot(const fs::path& entry, const std::string& source,
                       const std::string& revision) {
  const bool is_given = !revision.empty();
  const std::optional<std::string> commit = read_ref(entry, is_given ? revision : "main");
  const std::vector<std::string> commits = snapshots_of(entry);
  if (commit && is_folder(entry / "snapshots" / *commit)) return entry / "snapshots" / *commit;
  if (is_given && std::ranges::binary_search(commits, revision)) {
    return entry / "snapshots" / revision;
  }
  if (!is_given && !commit && commits.size() == 1) return entry / "snapshots" / commits[0];
  throw Error(
      ErrorCode::not_a_checkpoint,
      {.problem = "the Hugging Face cache does not say which snapshot '" + source + "' is",
       .file = entry,
       .expected = commit ? "a snapshot " + *commit : "refs/" + (is_given ? revision : "main"),
       .found = "snapshots: " + joined(commits),
       .advice = "Download it again, or give ORG/NAME@REVISION"});
}

fs::path find_in_hub_cache(const std::string& source, const HubName& hub_name) {
  const fs::path cache = hub_cache();
  const fs::path entry =
      cache / (std::string(kEntryPrefix) + hub_name.organization + "--" + hub_name.name);
  if (!is_folder(entry)) {
    throw Error(ErrorCode::not_a_checkpoint,
                {.problem = "there is no folder '" + source +
                            "', and no model of this name in the local Hugging Face cache",
                 .file = cache,
                 .advice = "Download it first: hf download " + hub_name.organization + "/" +
                           hub_name.name});
  }
  return find_snapshot(entry, source, hub_name.revision);
}

// Whether the path is the ancestor or is below it. Both are resolved.
bool is_within(const fs::path& path, const fs::path& ancestor) {
  return std::ranges::mismatch(ancestor, path).in1 == ancestor.end();
}

}  // namespace

std::optional<fs::path> hub_cache_entry(const fs::path& folder) {
  for (fs::path path = folder; path.has_relative_path(); path = path.parent_path()) {
    const fs::path snapshots = path.parent_path();
    fs::path entry = snapshots.parent_path();
    if (snapshots.filename() == "snapshots" &&
        entry.filename().native().starts_with(kEntryPrefix)) {
      return entry;
    }
  }
  return std::nullopt;
}

fs::path resolve_source(const std::string& source) {
  std::error_code error;
  if (fs::exists(source, error)) return source;
  if (const std::optional<HubName> hub_name = parse_hub_name(source)) {
    return find_in_hub_cache(source, *hub_name);
  }
  throw Error(ErrorCode::not_a_checkpoint, {.problem = "there is no such folder", .file = source});
}

bool link_stays_inside(const fs::path& folder, const fs::path& target) {
  std::error_code error;
  const fs::path resolved = fs::canonical(folder, error);
  if (error) return false;
  if (is_within(target, resolved)) return true;
  const std::optional<fs::path> entry = hub_cache_entry(resolved);
  return entry && is_within(target, *entry);
}

}  // namespace mxferry::internal
