#include <nanobind/nanobind.h>

#include "bindings.h"
#include "mxferry/mxfp4.h"
#include "mxferry/version.h"

NB_MODULE(_core, m) {
  m.attr("version") = MXFERRY_VERSION;
  m.def("active_target", &mxferry::active_target,
        "The instruction set that the kernels use on this machine.");
  mxferry::python::bind_error();
  mxferry::python::bind_weights(m);
  mxferry::python::bind_reader(m);
  mxferry::python::bind_writer(m);
  mxferry::python::bind_verbs(m);
}
