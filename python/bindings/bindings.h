#pragma once

#include <nanobind/nanobind.h>

namespace mxferry::python {

// One function per subject; each adds its subject to the module.
void bind_error();
void bind_weights(nanobind::module_& m);
void bind_reader(nanobind::module_& m);
void bind_writer(nanobind::module_& m);
void bind_verbs(nanobind::module_& m);

}  // namespace mxferry::python
