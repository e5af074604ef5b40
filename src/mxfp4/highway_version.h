#pragma once

#include <string>

namespace mxferry::mxfp4 {

// Of the headers that the kernels were built from; the library does not tell its own.
std::string highway_version();

}  // namespace mxferry::mxfp4
