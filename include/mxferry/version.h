#pragma once

#include <string>
#include <vector>

// The only definition of the version: CMake, the package files and `mxferry --version` read it
// here.
#define MXFERRY_VERSION "0.1.0"

namespace mxferry {

struct LibraryVersion {
  std::string name;
  std::string version;  // the running version if the library reports it, else the one built with
};

// The libraries that this one is linked with, for bug reports; the C++ standard library and the C
// library come last.
std::vector<LibraryVersion> linked_libraries();

}  // namespace mxferry
