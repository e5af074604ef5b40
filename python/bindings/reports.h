#pragma once

#include <nanobind/nanobind.h>

#include "mxferry/convert.h"
#include "mxferry/inspect.h"
#include "mxferry/sample.h"
#include "mxferry/verify.h"
#include "mxferry/verify_manifest.h"

namespace mxferry::python {

// Returns the dataclass of mxferry.reports with the same name.
nanobind::object to_python(const ConvertPlan& plan);
nanobind::object to_python(const ConvertReport& report);
nanobind::object to_python(const FinishReport& report);
nanobind::object to_python(const InspectReport& report);
nanobind::object to_python(const SampleReport& report);
// `html` is None or the page about the report.
nanobind::object to_python(const VerifyReport& report, const nanobind::object& html);
nanobind::object to_python(const VerifyManifestReport& report);

}  // namespace mxferry::python
