#pragma once

#include <nanobind/nanobind.h>

#include <functional>
#include <stop_token>

#include "mxferry/convert.h"

namespace mxferry::python {

// What a long run of the library receives.
struct LongRun {
  std::function<void(const ConvertProgress&)> progress;
  std::stop_token stop;
};

// Runs `work` on its own thread. Meanwhile this thread lets other Python threads run, calls
// `progress(done, total)` unless it is None, and handles signals. If the callback or a signal
// handler raises (KeyboardInterrupt for Ctrl-C), stops the run, waits for it to clean up, and
// raises the exception. The last call of `progress` has the run's last report.
void run_long(const nanobind::object& progress, const std::function<void(const LongRun&)>& work);

}  // namespace mxferry::python
