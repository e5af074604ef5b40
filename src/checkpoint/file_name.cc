#include "checkpoint/file_name.h"

#include <algorithm>

namespace mxferry::internal {

bool stays_below(std::string_view name) noexcept {
  if (name.find('\0') != std::string_view::npos) return false;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    if (end == name.size()) return true;
    begin = end + 1;
  }
}

}  // namespace mxferry::internal
