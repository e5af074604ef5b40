#include "mxferry/checkpoint_writer.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "long_run.h"
#include "mxferry/error.h"
#include "options.h"

namespace mxferry::python {
namespace {

namespace nb = nanobind;
using namespace nb::literals;

// (name, safetensors name of the dtype, shape)
using TensorTuple = std::tuple<std::string, std::string, std::vector<std::int64_t>>;
// (tensor index, where the box begins, an array of the box's shape whose elements have the size of
// the tensor's)
using RegionTuple = std::tuple<std::size_t, std::vector<std::int64_t>, ReadOnlyArray>;

// A writer, and its tensors' dtypes, to check the element sizes of arrays.
struct Writer {
  std::vector<DType> dtypes;
  CheckpointWriter writer;
};

ReadableTensor to_tensor(const TensorTuple& tuple) {
  const auto& [tensor, dtype_name, shape] = tuple;
  const std::optional<DType> dtype = parse_dtype(dtype_name);
  if (!dtype) {
    throw Error(ErrorCode::wrong_dtype,
                {.problem = "safetensors has no dtype " + dtype_name, .tensor = tensor});
  }
  return {tensor, *dtype, shape};
}

ConstRegion to_region(const Writer& writer, const RegionTuple& tuple) {
  const auto& [tensor, begin, array] = tuple;
  if (tensor < writer.dtypes.size() && bits(writer.dtypes[tensor]) != array.dtype().bits) {
    throw Error(ErrorCode::wrong_dtype,
                {.problem = "the array's elements have not the size of the tensor's"});
  }
  ConstRegion region{.tensor = tensor, .begin = begin};
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    region.extent.push_back(static_cast<std::int64_t>(array.shape(i)));
    region.strides.push_back(array.stride(i));
  }
  region.data = static_cast<const std::byte*>(array.data());
  return region;
}

void construct(Writer* self, const std::vector<TensorTuple>& tensors, const nb::kwargs& values) {
  WriterOptions options = writer_options(values);
  std::vector<DType> dtypes;
  for (const TensorTuple& tuple : tensors) {
    options.tensors.push_back(to_tensor(tuple));
    dtypes.push_back(options.tensors.back().dtype);
  }
  const nb::gil_scoped_release released;
  new (self) Writer{std::move(dtypes), CheckpointWriter(options)};
}

void write(const Writer& self, const std::vector<RegionTuple>& tuples, int threads) {
  std::vector<ConstRegion> regions;
  regions.reserve(tuples.size());
  for (const RegionTuple& tuple : tuples) regions.push_back(to_region(self, tuple));
  run_long(nb::none(), [&](const LongRun& run) {
    self.writer.write(regions, {.threads = threads, .stop = run.stop});
  });
}

}  // namespace

void bind_writer(nb::module_& m) {
  using Released = nb::call_guard<nb::gil_scoped_release>;
  nb::class_<Writer>(m, "CheckpointWriter")
      .def("__init__", &construct, "tensors"_a, "values"_a,
           nb::sig("def __init__(self, tensors: list[tuple[str, str, tuple[int, ...]]], "
                   "**values: typing.Any) -> None"))
      .def("quantizes", [](const Writer& self, std::size_t i) { return self.writer.quantizes(i); })
      .def("digest", [](const Writer& self) { return self.writer.digest(); })
      .def(
          "create", [](Writer& self) { self.writer.create(); }, Released())
      .def("write", &write, "regions"_a.noconvert(), "threads"_a,
           nb::sig("def write(self, regions: list[tuple[int, list[int], typing.Any]], "
                   "threads: int) -> None"))
      .def(
          "sync", [](const Writer& self) { self.writer.sync(); }, Released())
      .def(
          "commit", [](Writer& self) { self.writer.commit(); }, Released())
      .def("discard", [](Writer& self) { self.writer.discard(); }, Released());
}

}  // namespace mxferry::python
