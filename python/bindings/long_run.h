#pragma once

#include <nanobind/nanobind.h>

#include <functional>
#include <stop_token>

#include "mxferry/convert.h"

namespace mxferry::python {

// What a long run of the library is given.
struct LongRun {
  std::function<void(const ConvertProgress&)> progress;
  std::stop_token stop;
};

// Runs `work` on a thread of its own, while this one lets other Python threads run, calls
// `progress(done, total)` unless it is None, and lets signals be handled. Where the callback or a
// signal handler raises, Ctrl-C's KeyboardInterrupt among them, the run is stopped, cleans up, and
// the exception is raised. `progress` is last called with what the run last reported.
void run_long(const nanobind::object& progress, const std::function<void(const LongRun&)>& work);

}  // namespace mxferry::python
