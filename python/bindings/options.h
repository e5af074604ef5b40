#pragma once

#include <nanobind/nanobind.h>

#include "mxferry/checkpoint_reader.h"
#include "mxferry/checkpoint_writer.h"
#include "mxferry/convert.h"
#include "mxferry/sample.h"
#include "mxferry/verify.h"
#include "mxferry/verify_manifest.h"

namespace mxferry::python {

// A verb's options from keyword arguments of the same names. An option that is None or not given
// keeps its default. Throws Error(invalid_argument) for a name that an enumeration does not have,
// TypeError for a value of the wrong type or an option that the verb does not have.
ConvertOptions convert_options(const nanobind::kwargs& values);
VerifyOptions verify_options(const nanobind::kwargs& values);
VerifyManifestOptions verify_manifest_options(const nanobind::kwargs& values);
SampleOptions sample_options(const nanobind::kwargs& values);
ReaderOptions reader_options(const nanobind::kwargs& values);
// All options but the tensors.
WriterOptions writer_options(const nanobind::kwargs& values);

}  // namespace mxferry::python
