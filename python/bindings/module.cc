#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "mxferry/mxfp4.h"
#include "mxferry/names.h"
#include "mxferry/version.h"

NB_MODULE(_core, m) {
  m.attr("version") = MXFERRY_VERSION;
  m.def("active_target", &mxferry::active_target,
        "The instruction set that the kernels use on this machine.");
  m.def("restored_names", &mxferry::restored_names,
        "The names of a model's tensors as the layouts have them, in the same order.");
  mxferry::python::bind_error();
  mxferry::python::bind_weights(m);
  mxferry::python::bind_reader(m);
  mxferry::python::bind_writer(m);
  mxferry::python::bind_verbs(m);
}
