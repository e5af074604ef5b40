#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "mxferry/convert.h"
#include "printing.h"

namespace mxferry::cli {

// What a long-running command passes to the library.
struct LongRun {
  std::stop_token stop;
  std::function<void(const ConvertProgress&)> progress;
};

// Calls work() with a progress bar on stderr, and with signals that stop it; then clears the bar
// and calls finish(), which prints the result. Returns finish()'s exit code, or the signal's.
int run_long(const std::string& command, const OutputOptions& output,
             const std::function<void(const LongRun&)>& work, const std::function<int()>& finish);

}  // namespace mxferry::cli
