#pragma once

#include <string>
#include <vector>

// The one place of the version: CMake, the package files and `mxferry --version` read it from here.
#define MXFERRY_VERSION "0.1.0"

namespace mxferry {

struct LibraryVersion {
  std::string name;
  std::string version;  // of what runs where the library tells, else of what it was built with
};

// The libraries that this one is linked with, for a report of a fault; the C++ standard library and
// the C library last.
std::vector<LibraryVersion> linked_libraries();

}  // namespace mxferry
