#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "mxferry/convert.h"
#include "printing.h"

namespace mxferry::cli {

// What a command that may take long hands to the library.
struct LongRun {
  std::stop_token stop;
  std::function<void(const ConvertProgress&)> progress;
};

// Calls work() with a progress bar on stderr and signals that stop it, and then finish(), which
// prints what came out, with the bar wiped off. Returns finish()'s exit code, or that of the
// signal.
int run_long(const std::string& command, const OutputOptions& output,
             const std::function<void(const LongRun&)>& work, const std::function<int()>& finish);

}  // namespace mxferry::cli
