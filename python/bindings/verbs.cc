#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "bindings.h"
#include "long_run.h"
#include "mxferry/convert.h"
#include "mxferry/inspect.h"
#include "mxferry/sample.h"
#include "mxferry/verify.h"
#include "mxferry/verify_manifest.h"
#include "options.h"
#include "reports.h"

namespace mxferry::python {
namespace {

namespace nb = nanobind;
using namespace nb::literals;

// Runs `verb` with the options and returns its report.
template <typename Report, typename Options>
Report run(Report (*verb)(const Options&), Options options, const nb::object& progress) {
  Report report;
  run_long(progress, [&](const LongRun& long_run) {
    options.progress = long_run.progress;
    options.stop = long_run.stop;
    report = verb(options);
  });
  return report;
}

nb::object plan(const nb::kwargs& values) {
  const ConvertOptions options = convert_options(values);
  ConvertPlan result;
  {
    const nb::gil_scoped_release released;
    result = plan_conversion(options);
  }
  return to_python(result);
}

nb::object inspect_source(const std::string& source) {
  InspectReport result;
  {
    const nb::gil_scoped_release released;
    result = inspect(source);
  }
  return to_python(result);
}

nb::object finish_destination(const std::string& destination) {
  FinishReport result;
  {
    const nb::gil_scoped_release released;
    result = finish_conversion(destination);
  }
  return to_python(result);
}

nb::object verify_checkpoints(const nb::object& progress, bool html, const nb::kwargs& values) {
  const VerifyReport report = run(&verify, verify_options(values), progress);
  return to_python(report, html ? nb::cast(html_report(report)) : nb::none());
}

}  // namespace

void bind_verbs(nb::module_& m) {
  m.def("plan_conversion", &plan, "values"_a,
        nb::sig("def plan_conversion(**values: typing.Any) -> mxferry.reports.ConvertPlan"));
  m.def(
      "convert",
      [](const nb::object& progress, const nb::kwargs& values) {
        return to_python(run(&convert, convert_options(values), progress));
      },
      "progress"_a.none(), "values"_a,
      nb::sig("def convert(progress: typing.Any, **values: typing.Any) -> "
              "mxferry.reports.ConvertReport"));
  m.def("finish", &finish_destination, "destination"_a,
        nb::sig("def finish(destination: str) -> mxferry.reports.FinishReport"));
  m.def("verify", &verify_checkpoints, "progress"_a.none(), "html"_a, "values"_a,
        nb::sig("def verify(progress: typing.Any, html: bool, **values: typing.Any) -> "
                "mxferry.reports.VerifyReport"));
  m.def(
      "verify_manifest",
      [](const nb::object& progress, const nb::kwargs& values) {
        return to_python(run(&verify_manifest, verify_manifest_options(values), progress));
      },
      "progress"_a.none(), "values"_a,
      nb::sig("def verify_manifest(progress: typing.Any, **values: typing.Any) -> "
              "mxferry.reports.VerifyManifestReport"));
  m.def("inspect", &inspect_source, "source"_a,
        nb::sig("def inspect(source: str) -> mxferry.reports.InspectReport"));
  m.def(
      "sample",
      [](const nb::object& progress, const nb::kwargs& values) {
        return to_python(run(&write_sample, sample_options(values), progress));
      },
      "progress"_a.none(), "values"_a,
      nb::sig("def sample(progress: typing.Any, **values: typing.Any) -> "
              "mxferry.reports.SampleReport"));
}

}  // namespace mxferry::python
