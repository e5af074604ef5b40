#pragma once

#include <gnu/libc-version.h>

namespace mxferry {

// Of the C library that runs.
inline const char* c_library_version() noexcept {
  return ::gnu_get_libc_version();
}

}  // namespace mxferry
