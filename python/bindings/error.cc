#include "mxferry/error.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <exception>

#include "bindings.h"

namespace mxferry::python {
namespace {

namespace nb = nanobind;
using namespace nb::literals;

const char* category_name(ErrorCategory category) {
  switch (category) {
    case ErrorCategory::usage:
      return "usage";
    case ErrorCategory::source:
      return "source";
    case ErrorCategory::system:
      return "system";
    case ErrorCategory::limit:
      return "limit";
    case ErrorCategory::cancelled:
      return "cancelled";
  }
  return "";
}

void raise(const Error& error) {
  const ErrorDetails& details = error.details();
  const nb::object type = nb::module_::import_("mxferry.errors").attr("Error");
  const nb::object raised =
      type(error.what(), name(error.code()), category_name(category(error.code())),
           "file"_a = details.file.string(), "tensor"_a = details.tensor,
           "expected"_a = details.expected, "found"_a = details.found, "advice"_a = details.advice);
  PyErr_SetObject(type.ptr(), raised.ptr());
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    raise(error);
  }
}

}  // namespace

void bind_error() {
  nb::register_exception_translator(translate);
}

}  // namespace mxferry::python
