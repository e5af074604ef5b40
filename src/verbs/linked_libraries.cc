#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/c_library.h"
#include "gpt_oss/name_regex.h"
#include "mxferry/version.h"
#include "mxfp4/highway_version.h"

namespace mxferry {

std::vector<LibraryVersion> linked_libraries() {
  return {{"Highway", mxfp4::highway_version()},
          {"PCRE2", regex_library_version()},
          {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100,
                              FMT_VERSION % 100)},
          {"nlohmann-json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR,
                                        NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
          {"libstdc++", fmt::format("{} ({})", _GLIBCXX_RELEASE, __GLIBCXX__)},
          {"glibc", c_library_version()}};
}

}  // namespace mxferry
