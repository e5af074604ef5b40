#pragma once

#include <string_view>

namespace mxferry::internal {

// How every pointer file begins that Git LFS leaves where a large file was not fetched. Source: Git
// LFS specification, version 1.
inline constexpr std::string_view kGitLfsStart = "version https://git-lfs";

constexpr bool is_git_lfs_pointer(std::string_view start_of_file) noexcept {
  return start_of_file.starts_with(kGitLfsStart);
}

}  // namespace mxferry::internal
