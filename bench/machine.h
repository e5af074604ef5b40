#pragma once

#include <fstream>
#include <string>

// What a result depends on and a reader wants to know.
namespace mxferry::internal::bench {

inline std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace mxferry::internal::bench
