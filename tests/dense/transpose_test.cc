#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numeric>
#include <vector>

#include "dense/convert.h"
#include "tests/each_target.h"

namespace mxferry::internal::dense {
namespace {

struct Matrix {
  std::size_t rows;
  std::size_t columns;
  std::size_t in_gap;  // elements between rows
  std::size_t out_gap;
};

// Transposes numbered elements and returns whether each is in its place, and nothing else changed.
template <typename T>
bool transposes(const Matrix& matrix) {
  const std::size_t in_stride = matrix.columns + matrix.in_gap;
  const std::size_t out_stride = matrix.rows + matrix.out_gap;
  // Without the gap after the last row: buffers end with the last byte that may be touched.
  const std::size_t in_size = matrix.rows == 0 ? 0 : matrix.rows * in_stride - matrix.in_gap;
  const std::size_t out_size =
      matrix.columns == 0 ? 0 : matrix.columns * out_stride - matrix.out_gap;
  std::vector<T> in(in_size);
  std::iota(in.begin(), in.end(), T{1});
  std::vector<T> actual(out_size, T{0xA5});
  std::vector<T> expected = actual;
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    for (std::size_t column = 0; column < matrix.columns; ++column) {
      expected[column * out_stride + row] = in[row * in_stride + column];
    }
  }
  transpose(reinterpret_cast<const std::byte*>(in.data()), in_stride, matrix.rows, matrix.columns,
            sizeof(T), reinterpret_cast<std::byte*>(actual.data()), out_stride);
  return actual == expected;
}

class Transpose : public EachTarget {};
MXFERRY_EACH_TARGET(Transpose);

TEST_P(Transpose, PutsEveryElementInItsPlace) {
  EXPECT_TRUE(rc::check([] {
    const auto below = [](std::size_t limit) { return *rc::gen::inRange<std::size_t>(0, limit); };
    const Matrix matrix{below(150), below(150), below(40), below(40)};
    RC_ASSERT(transposes<std::uint16_t>(matrix));
    RC_ASSERT(transposes<std::uint32_t>(matrix));
  }));
}

TEST_P(Transpose, HandlesManyRowsAndColumns) {
  EXPECT_TRUE(transposes<std::uint16_t>({1100, 40, 0, 0}));
  EXPECT_TRUE(transposes<std::uint16_t>({40, 1100, 0, 0}));
  EXPECT_TRUE(transposes<std::uint32_t>({1100, 72, 3, 5}));
  EXPECT_TRUE(transposes<std::uint32_t>({512, 1024, 0, 0}));
}

}  // namespace
}  // namespace mxferry::internal::dense
