#include "mxfp4/fingerprint.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "mxferry/mxfp4.h"
#include "mxfp4/encode_reference.h"
#include "mxfp4/reference.h"

namespace mxferry::internal::mxfp4 {
namespace {

constexpr std::size_t kRows = 96;
constexpr std::size_t kColumns = 160;

// A matrix of BF16 or FP32 by its weights.
struct Matrix {
  std::vector<std::byte> bytes;
  DType dtype;

  Matrix(DType type, const std::function<double(std::size_t row, std::size_t column)>& weight)
      : dtype(type) {
    const std::size_t size = static_cast<std::size_t>(bits(dtype)) / 8;
    bytes.resize(kRows * kColumns * size);
    for (std::size_t i = 0; i < kRows * kColumns; ++i) {
      const std::uint32_t pattern = reference::round_to(dtype, weight(i / kColumns, i % kColumns));
      std::memcpy(bytes.data() + i * size, &pattern, size);
    }
  }

  DenseView view() const { return {bytes.data(), dtype, Order::rows, kColumns, kRows, kColumns}; }
  DenseView transposed() const {
    return {bytes.data(), dtype, Order::transposed, kColumns, kColumns, kRows};
  }
};

// Decoded from blocks that run along the columns, with scales as a model has them.
Matrix decoded(DType dtype) {
  auto random = std::make_shared<std::mt19937>(3);
  auto scales = std::make_shared<std::vector<std::uint8_t>>();
  for (std::size_t i = 0; i < kRows * kColumns / kBlockSize; ++i) {
    scales->push_back(static_cast<std::uint8_t>(118 + (*random)() % 4));
  }
  return {dtype, [=](std::size_t row, std::size_t column) {
            const std::uint8_t scale = (*scales)[(row * kColumns + column) / kBlockSize];
            return reference::exact_value(scale, static_cast<int>((*random)() % 16));
          }};
}

TEST(Fingerprint, TellsWhichWayTheBlocksRan) {
  for (const DType dtype : {DType::BF16, DType::F16, DType::F32}) {
    const Matrix matrix = decoded(dtype);
    EXPECT_EQ(fingerprint(matrix.view()), Fingerprint::along_input);
    EXPECT_EQ(fingerprint(matrix.transposed()), Fingerprint::along_rows);
  }
}

// Blocks of normal weights have one of two scales, mostly.
TEST(Fingerprint, TellsWhereScalesHardlyDiffer) {
  std::mt19937 random(9);
  std::normal_distribution<double> normal(0, 0.02);
  std::vector<double> weights(kRows * kColumns);
  for (double& weight : weights) weight = normal(random);
  for (std::size_t i = 0; i < weights.size(); i += kBlockSize) {
    std::array<std::uint8_t, kBlockBytes> block{};
    const auto made =
        reference::encode_block(weights.data() + i, quant_row(QuantMode::gptoss), {}, block.data());
    for (int k = 0; k < kBlockSize; ++k) {
      weights[i + static_cast<std::size_t>(k)] =
          reference::exact_value(made.scale, reference::code_at(block.data(), k));
    }
  }
  const Matrix matrix(DType::BF16, [&](std::size_t row, std::size_t column) {
    return weights[row * kColumns + column];
  });
  EXPECT_EQ(fingerprint(matrix.view()), Fingerprint::along_input);
  EXPECT_EQ(fingerprint(matrix.transposed()), Fingerprint::along_rows);
}

TEST(Fingerprint, DoesNotKnowWeightsThatWereTrained) {
  std::mt19937 random(5);
  std::normal_distribution<double> normal(0, 0.02);
  const Matrix matrix(DType::BF16, [&](std::size_t, std::size_t) { return normal(random); });
  EXPECT_EQ(fingerprint(matrix.view()), Fingerprint::unknown);
  // One weight changed since is enough for doubt.
  Matrix touched = decoded(DType::BF16);
  touched.bytes[2 * 77] ^= std::byte{1};
  EXPECT_EQ(fingerprint(touched.view()), Fingerprint::unknown);
}

TEST(Fingerprint, DoesNotKnowWeightsThatAreAlikeEveryWay) {
  for (const double value : {0.0, 0.5}) {
    const Matrix matrix(DType::BF16, [&](std::size_t, std::size_t) { return value; });
    EXPECT_EQ(fingerprint(matrix.view()), Fingerprint::unknown);
  }
  const Matrix nan(DType::BF16, [](std::size_t, std::size_t) { return std::nan(""); });
  EXPECT_EQ(fingerprint(nan.view()), Fingerprint::unknown);
}

TEST(Fingerprint, DoesNotKnowWhatHasNoWholeBlock) {
  const Matrix matrix = decoded(DType::BF16);
  DenseView few = matrix.view();
  few.rows = few.columns = 31;
  EXPECT_EQ(fingerprint(few), Fingerprint::unknown);
}

}  // namespace
}  // namespace mxferry::internal::mxfp4
