#include "source/checked_box.h"

#include <cstddef>
#include <string>
#include <utility>

#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

[[noreturn]] void refuse(const ReadableTensor& tensor, std::string problem, std::string expected,
                         std::string found) {
  throw Error(ErrorCode::invalid_argument, {.problem = std::move(problem),
                                            .tensor = tensor.name,
                                            .expected = std::move(expected),
                                            .found = std::move(found)});
}

}  // namespace

void check_box(const ReadableTensor& tensor, const Shape& begin, const Shape& extent,
               const std::vector<std::int64_t>& strides) {
  const std::size_t rank = tensor.shape.size();
  bool inside = begin.size() == rank && extent.size() == rank && strides.size() == rank;
  for (std::size_t i = 0; inside && i < rank; ++i) {
    inside = begin[i] >= 0 && extent[i] >= 0 && begin[i] <= tensor.shape[i] &&
             extent[i] <= tensor.shape[i] - begin[i];
  }
  if (inside) return;
  refuse(tensor, "the part leaves the tensor", "a part of " + to_string(tensor.shape),
         to_string(extent) + " from " + to_string(begin) + " on");
}

std::vector<std::int64_t> checked_strides(const ReadableTensor& tensor, const Shape& extent,
                                          std::vector<std::int64_t> strides) {
  const Shape given = strides;
  std::int64_t least = 1;  // smallest valid stride of dimension i
  for (std::size_t i = strides.size(); i-- > 0;) {
    if (extent[i] <= 1) {
      strides[i] = least;
      continue;
    }
    const bool is_last = i + 1 == strides.size();
    if (strides[i] < least || (is_last && strides[i] != 1)) {
      refuse(tensor, "the memory's strides do not fit its shape",
             "row-major memory, the last dimension without gaps",
             to_string(given) + " for " + to_string(extent));
    }
    least = strides[i] * extent[i];
  }
  return strides;
}

}  // namespace mxferry::internal
