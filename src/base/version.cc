#include "mxferry/version.h"

#include <gnu/libc-version.h>
#include <nettle/version.h>

#include <array>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string>

namespace mxferry {

namespace {

std::string pcre2_version() {
  std::array<PCRE2_UCHAR, 64> text{};
  pcre2_config(PCRE2_CONFIG_VERSION, text.data());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

// CMakeLists.txt supplies the versions of libraries that do not report their own.
std::vector<LibraryVersion> linked_libraries() {
  return {
      {"Highway", MXFERRY_HIGHWAY_VERSION},
      {"PCRE2", pcre2_version()},
      {"Nettle",
       std::to_string(nettle_version_major()) + "." + std::to_string(nettle_version_minor())},
      {"fmt", MXFERRY_FMT_VERSION},
      {"nlohmann-json", MXFERRY_JSON_VERSION},
      {"libstdc++", std::to_string(_GLIBCXX_RELEASE) + " (" + std::to_string(__GLIBCXX__) + ")"},
      {"glibc", gnu_get_libc_version()}};
}

}  // namespace mxferry
