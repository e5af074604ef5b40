#pragma once

// The one place of the version: CMake, the package files and `mxferry --version` read it from here.
#define MXFERRY_VERSION "0.1.0"
