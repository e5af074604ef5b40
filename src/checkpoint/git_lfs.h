#pragma once

#include <string_view>

namespace mxferry::internal {

// The first bytes of every pointer file, which Git LFS leaves in place of a large file that was not
// fetched. Source: Git LFS specification, version 1.
inline constexpr std::string_view kGitLfsStart = "version https://git-lfs";

constexpr bool is_git_lfs_pointer(std::string_view start_of_file) noexcept {
  return start_of_file.starts_with(kGitLfsStart);
}

}  // namespace mxferry::internal
