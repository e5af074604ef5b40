#include "mxferry/checkpoint_reader.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
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

// (tensor index, where the box begins, the safetensors name of the memory's dtype, an array of the
// box's shape whose elements have the dtype's size)
using RegionTuple = std::tuple<std::size_t, std::vector<std::int64_t>, std::string, AnyArray>;

Region to_region(const RegionTuple& tuple) {
  const auto& [tensor, begin, dtype_name, array] = tuple;
  const std::optional<DType> dtype = parse_dtype(dtype_name);
  if (!dtype || bits(*dtype) != array.dtype().bits) {
    throw Error(ErrorCode::wrong_dtype,
                {.problem = "the array's elements have not the size of " + dtype_name});
  }
  Region region{.tensor = tensor, .begin = begin, .dtype = *dtype};
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    region.extent.push_back(static_cast<std::int64_t>(array.shape(i)));
    region.strides.push_back(array.stride(i));
  }
  region.data = static_cast<std::byte*>(array.data());
  return region;
}

std::uint64_t read(const CheckpointReader& reader, const std::vector<RegionTuple>& tuples,
                   int threads, const nb::object& progress) {
  std::vector<Region> regions;
  regions.reserve(tuples.size());
  for (const RegionTuple& tuple : tuples) regions.push_back(to_region(tuple));
  std::uint64_t bytes = 0;
  run_long(progress, [&](const LongRun& run) {
    bytes = reader.read(regions, {.threads = threads, .progress = run.progress, .stop = run.stop});
  });
  return bytes;
}

nb::list tensors(const CheckpointReader& reader) {
  nb::list result;
  for (const ReadableTensor& tensor : reader.tensors()) {
    result.append(
        nb::make_tuple(tensor.name, name(tensor.dtype).data(), nb::tuple(nb::cast(tensor.shape))));
  }
  return result;
}

}  // namespace

void bind_reader(nb::module_& m) {
  nb::class_<CheckpointReader>(m, "CheckpointReader")
      .def(
          "__init__",
          [](CheckpointReader* self, const nb::kwargs& values) {
            const ReaderOptions options = reader_options(values);
            const nb::gil_scoped_release released;
            new (self) CheckpointReader(options);
          },
          "values"_a, nb::sig("def __init__(self, **values: typing.Any) -> None"))
      .def("tensors", &tensors,
           nb::sig("def tensors(self) -> list[tuple[str, str, tuple[int, ...]]]"))
      .def("read", &read, "regions"_a.noconvert(), "threads"_a, "progress"_a.none(),
           nb::sig("def read(self, regions: list[tuple[int, list[int], str, typing.Any]], "
                   "threads: int, progress: typing.Any) -> int"));
}

}  // namespace mxferry::python
