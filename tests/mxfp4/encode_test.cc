#include "mxfp4/encode.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "mxferry/mxfp4.h"
#include "mxfp4/encode_reference.h"
#include "mxfp4/quant_table.h"
#include "mxfp4/reference.h"
#include "tests/each_target.h"

namespace mxferry::internal::mxfp4 {
namespace {

class Encode : public EachTarget {};
MXFERRY_EACH_TARGET(Encode);

std::size_t size_of(DType dtype) {
  return static_cast<std::size_t>(bits(dtype)) / 8;
}

// A matrix with room around it that nothing may touch.
class Matrix {
 public:
  Matrix(DType dtype, Order order, std::size_t rows, std::size_t columns, std::size_t padding = 0)
      : dtype_(dtype), order_(order), rows_(rows), columns_(columns) {
    stride_ = (order == Order::transposed ? rows : columns) + padding;
    const std::size_t lines = order == Order::transposed ? columns : rows;
    bytes_.resize(lines * stride_ * size_of(dtype));
  }

  void set(std::size_t row, std::size_t column, std::uint32_t pattern) {
    const std::size_t index =
        order_ == Order::transposed ? column * stride_ + row : row * stride_ + column;
    std::memcpy(bytes_.data() + index * size_of(dtype_), &pattern, size_of(dtype_));
  }

  DenseView view() const { return {bytes_.data(), dtype_, order_, stride_, rows_, columns_}; }

 private:
  DType dtype_;
  Order order_;
  std::size_t rows_, columns_, stride_ = 0;
  std::vector<std::byte> bytes_;
};

struct Packed {
  std::vector<std::uint8_t> blocks, scales;
  EncodeCounts counts;

  bool operator==(const Packed& other) const {
    return blocks == other.blocks && scales == other.scales && counts.kept == other.counts.kept &&
           counts.saturated == other.counts.saturated && counts.blocks == other.counts.blocks &&
           counts.suspicious == other.counts.suspicious;
  }
};

template <class Encoder>
Packed encode_with(const Encoder& encoder, const DenseView& dense, EncodeOptions options = {}) {
  const std::size_t groups = dense.columns / kBlockSize;
  // One more row, which must stay as it is.
  Packed packed{std::vector<std::uint8_t>((dense.rows + 1) * groups * kBlockBytes, 0xA5),
                std::vector<std::uint8_t>((dense.rows + 1) * groups, 0xA5),
                {}};
  packed.counts = encoder(
      dense, options,
      PackedTarget{packed.blocks.data(), groups * kBlockBytes, packed.scales.data(), groups});
  return packed;
}

// By way of a result whose blocks begin `offset` bytes later.
EncodeCounts encode_at(std::size_t offset, const DenseView& dense, const EncodeOptions& options,
                       PackedTarget target) {
  std::uint8_t* const blocks = target.blocks;
  const std::size_t size = dense.rows * target.block_row_bytes;
  std::vector<std::uint8_t> moved(offset + size);
  target.blocks = moved.data() + offset;
  const EncodeCounts counts = encode(dense, options, target);
  std::memcpy(blocks, target.blocks, size);
  return counts;
}

Packed by_kernel(const DenseView& dense, const EncodeOptions& options = {}) {
  return encode_with(encode, dense, options);
}
Packed by_reference(const DenseView& dense, const EncodeOptions& options = {}) {
  return encode_with(reference::encode, dense, options);
}

std::vector<QuantMode> modes() {
  std::vector<QuantMode> all;
  for (const QuantRow& row : quant_rows()) all.push_back(row.mode);
  return all;
}

constexpr std::array kDTypes = {DType::BF16, DType::F16, DType::F32};
constexpr std::array kOrders = {Order::rows, Order::transposed};

std::uint32_t infinity_of(DType dtype) {
  if (dtype == DType::F16) return 0x7C00;
  return dtype == DType::BF16 ? 0x7F80 : 0x7F800000;
}

// Every finite pattern of 16 bits as the largest magnitude of a block, with smaller ones beside it.
Matrix all_maxima(DType dtype, Order order) {
  const std::uint32_t infinity = infinity_of(dtype);
  Matrix matrix(dtype, order, infinity, kBlockSize);
  for (std::uint32_t largest = 0; largest < infinity; ++largest) {
    for (std::uint32_t i = 0; i < kBlockSize; ++i) {
      // From the maximum down, at distances that grow, of both signs.
      const std::uint32_t down = i * i * (dtype == DType::BF16 ? 1 : 8);
      const std::uint32_t magnitude = largest > down ? largest - down : 0;
      matrix.set(largest, (i * 7) % kBlockSize, magnitude | (i % 2) << 15);
    }
  }
  return matrix;
}

TEST_P(Encode, AgreesWithTheReferenceForEveryMaximum) {
  for (const DType dtype : {DType::BF16, DType::F16}) {
    const Matrix matrix = all_maxima(dtype, Order::transposed);
    for (const QuantMode mode : modes()) {
      EXPECT_TRUE(by_kernel(matrix.view(), {.mode = mode}) ==
                  by_reference(matrix.view(), {.mode = mode}))
          << name(dtype) << " " << name(mode);
    }
  }
}

// More groups and rows than are collected before they are written, at every alignment of the
// result.
TEST_P(Encode, AgreesWithTheReferenceForWideMatrices) {
  constexpr std::size_t kRows = 150;
  constexpr std::size_t kGroups = 203;
  for (const Order order : kOrders) {
    Matrix matrix(DType::BF16, order, kRows, kGroups * kBlockSize);
    std::uint32_t pattern = 1;
    for (std::size_t row = 0; row < kRows; ++row) {
      for (std::size_t column = 0; column < kGroups * kBlockSize; ++column) {
        pattern = pattern * 1664525 + 1013904223;
        matrix.set(row, column, (0x3C00 + (pattern >> 16) % 0x400) | (pattern >> 31) << 15);
      }
    }
    const Packed expected = by_reference(matrix.view());
    for (const Stores stores : {Stores::cached, Stores::streaming}) {
      for (std::size_t offset = 0; offset <= kBlockBytes; offset += 8) {
        const auto encoder = [&](const DenseView& dense, const EncodeOptions& options,
                                 const PackedTarget& target) {
          return encode_at(offset, dense, options, target);
        };
        EXPECT_TRUE(encode_with(encoder, matrix.view(), {.stores = stores}) == expected);
      }
    }
  }
}

// 6 * scale and every midpoint between two values, with their neighbours, of both signs, for every
// scale that BF16 reaches.
TEST_P(Encode, AgreesWithTheReferenceAtEveryMidpoint) {
  constexpr std::array kMidpoints = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0};
  for (const DType dtype : kDTypes) {
    Matrix matrix(dtype, Order::rows, 256, 2 * kBlockSize);
    for (int scale = 0; scale < 253; ++scale) {
      const auto row = static_cast<std::size_t>(scale);
      std::size_t column = 0;
      for (const double midpoint : kMidpoints) {
        const std::uint32_t middle =
            mxfp4::reference::round_to(dtype, std::ldexp(midpoint, scale - kScaleBias));
        const std::uint32_t sign = dtype == DType::F32 ? 0x80000000 : 0x8000;
        for (const std::uint32_t neighbour : {middle - 1, middle, middle + 1}) {
          if (middle == 0 || middle + 1 >= infinity_of(dtype)) continue;
          matrix.set(row, column++, neighbour);
          matrix.set(row, column++, neighbour | sign);
        }
        if (column % kBlockSize > 24) column = kBlockSize;
      }
      const std::uint32_t six =
          mxfp4::reference::round_to(dtype, std::ldexp(6.0, scale - kScaleBias));
      for (const std::size_t last : {31, 63}) {
        matrix.set(row, last, six == infinity_of(dtype) ? 0 : six);
      }
    }
    for (const QuantMode mode : modes()) {
      EXPECT_TRUE(by_kernel(matrix.view(), {.mode = mode}) ==
                  by_reference(matrix.view(), {.mode = mode}))
          << name(dtype) << " " << name(mode);
    }
  }
}

struct AnyMatrix {
  Matrix matrix;
  std::vector<std::uint8_t> reference_scales;
  std::size_t groups;
};

// Weights of all sizes, some blocks of them values of E2M1 under their reference scale.
AnyMatrix any_matrix() {
  const DType dtype = *rc::gen::elementOf(kDTypes);
  const Order order = *rc::gen::elementOf(kOrders);
  const auto rows = *rc::gen::inRange<std::size_t>(1, 80);
  const auto groups = *rc::gen::inRange<std::size_t>(1, 7);
  const auto padding = *rc::gen::inRange<std::size_t>(0, 9);
  auto state = *rc::gen::arbitrary<std::uint64_t>();
  const auto random = [&] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>(state >> 33);
  };
  AnyMatrix any{Matrix(dtype, order, rows, groups * kBlockSize, padding),
                std::vector<std::uint8_t>(rows * groups), groups};
  // Scales that the dtype can express; F16 ends at 2^15, with subnormals down to 2^-24.
  const int first = dtype == DType::F16 ? 98 : 0;
  const int last = dtype == DType::F16 ? 140 : 252;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t group = 0; group < groups; ++group) {
      const int scale =
          first + static_cast<int>(random() % static_cast<std::uint32_t>(last - first + 1));
      any.reference_scales[row * groups + group] = static_cast<std::uint8_t>(scale);
      const std::uint32_t kind = random() % 4;
      for (std::size_t i = 0; i < kBlockSize; ++i) {
        double value = mxfp4::reference::exact_value(static_cast<std::uint8_t>(scale),
                                                     static_cast<int>(random() % 16));
        if (kind == 0) value *= 1 + std::ldexp(static_cast<double>(random() % 1024), -12);
        if (kind == 1) value *= std::ldexp(1.0, -static_cast<int>(random() % 12));
        if (kind == 2 && random() % 2 == 0) value = 0;
        std::uint32_t pattern = mxfp4::reference::round_to(dtype, value);
        if ((pattern & (dtype == DType::F32 ? 0x7FFFFFFF : 0x7FFF)) == infinity_of(dtype)) {
          pattern = 0;
        }
        any.matrix.set(row, group * kBlockSize + i, pattern);
      }
    }
  }
  return any;
}

RC_GTEST_PROP(EncodeProperty, AgreesWithTheReference, ()) {
  const AnyMatrix any = any_matrix();
  EncodeOptions options{.mode = *rc::gen::elementOf(modes())};
  if (*rc::gen::arbitrary<bool>()) {
    options.reference_scales = any.reference_scales.data();
    options.reference_row_bytes = any.groups;
  }
  options.saturate_nonfinite = *rc::gen::arbitrary<bool>();
  const Packed expected = by_reference(any.matrix.view(), options);
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    const bool agrees = by_kernel(any.matrix.view(), options) == expected;
    hwy::SetSupportedTargetsForTest(0);
    RC_ASSERT(agrees);
  }
}

// Sum of squared errors of one block. The weights have few enough bits for every step to be exact.
double squared_error(const DenseView& dense, const Packed& packed, std::size_t row,
                     std::size_t group) {
  const std::size_t groups = dense.columns / kBlockSize;
  double sum = 0;
  for (int i = 0; i < kBlockSize; ++i) {
    const std::uint8_t* block = packed.blocks.data() + (row * groups + group) * kBlockBytes;
    const double decoded = mxfp4::reference::exact_value(packed.scales[row * groups + group],
                                                         mxfp4::reference::code_at(block, i));
    const double error = decoded - reference::weight_at(dense, row, group * kBlockSize + i);
    sum += error * error;
  }
  return sum;
}

RC_GTEST_PROP(EncodeProperty, BestIsNeverWorseThanAnyOtherMode, ()) {
  Matrix matrix(DType::BF16, Order::rows, 16, kBlockSize);
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t i = 0; i < kBlockSize; ++i) {
      const auto mantissa = *rc::gen::inRange<std::uint32_t>(0, 128);
      const auto exponent = *rc::gen::inRange<std::uint32_t>(120, 127);
      matrix.set(row, i, exponent << 7 | mantissa | *rc::gen::inRange<std::uint32_t>(0, 2) << 15);
    }
  }
  const Packed best = by_kernel(matrix.view(), {.mode = QuantMode::best});
  for (const QuantMode mode : modes()) {
    const Packed other = by_kernel(matrix.view(), {.mode = mode});
    for (std::size_t row = 0; row < 16; ++row) {
      RC_ASSERT(squared_error(matrix.view(), best, row, 0) <=
                squared_error(matrix.view(), other, row, 0));
    }
  }
}

RC_GTEST_PROP(EncodeProperty, RoundsToTheNearestAndSaturatesOnlyBeyondSix, ()) {
  const AnyMatrix any = any_matrix();
  const QuantMode mode = *rc::gen::elementOf(modes());
  const DenseView dense = any.matrix.view();
  const Packed packed = by_kernel(dense, {.mode = mode});
  RC_ASSERT(mode != QuantMode::gptoss || packed.counts.saturated == 0u);
  for (std::size_t row = 0; row < dense.rows; ++row) {
    for (std::size_t column = 0; column < dense.columns; ++column) {
      const std::size_t block = row * any.groups + column / kBlockSize;
      const double scale = std::ldexp(1.0, packed.scales[block] - kScaleBias);
      const double decoded = mxfp4::reference::exact_value(
          packed.scales[block],
          mxfp4::reference::code_at(packed.blocks.data() + block * kBlockBytes,
                                    static_cast<int>(column % kBlockSize)));
      const double weight = reference::weight_at(dense, row, column);
      if (std::fabs(weight) > 6 * scale) {
        RC_ASSERT(decoded == std::copysign(6 * scale, weight));
        continue;
      }
      // Half the distance between two values: a quarter of the scale up to 2, then half, then all.
      const double magnitude = std::fabs(weight) / scale;
      RC_ASSERT(std::fabs(decoded - weight) <= (magnitude <= 2   ? 0.25
                                                : magnitude <= 4 ? 0.5
                                                                 : 1) *
                                                   scale);
    }
  }
}

TEST_P(Encode, TakesMatricesWithoutWeights) {
  for (const Order order : kOrders) {
    for (const auto& [rows, columns] : {std::pair(0, 64), std::pair(7, 0), std::pair(0, 0)}) {
      const DenseView none{nullptr,
                           DType::BF16,
                           order,
                           64,
                           static_cast<std::size_t>(rows),
                           static_cast<std::size_t>(columns)};
      EXPECT_EQ(encode(none, {}, {}).blocks, 0U) << rows << " x " << columns;
    }
  }
}

TEST_P(Encode, KeepsTheSignsOfZeros) {
  for (const DType dtype : kDTypes) {
    Matrix matrix(dtype, Order::rows, 2, kBlockSize);
    const std::uint32_t sign = dtype == DType::F32 ? 0x80000000 : 0x8000;
    for (std::size_t i = 0; i < kBlockSize; ++i) matrix.set(0, i, i % 3 == 0 ? sign : 0);
    matrix.set(1, 0, mxfp4::reference::round_to(dtype, 6));
    matrix.set(1, 1, mxfp4::reference::round_to(dtype, -0.25));
    matrix.set(1, 2, mxfp4::reference::round_to(dtype, 0.25));
    const Packed packed = by_kernel(matrix.view());
    EXPECT_EQ(packed.scales[0], 0);
    for (int i = 0; i < kBlockSize; ++i) {
      EXPECT_EQ(mxfp4::reference::code_at(packed.blocks.data(), i), i % 3 == 0 ? 8 : 0);
    }
    EXPECT_EQ(packed.scales[1], kScaleBias);
    EXPECT_EQ(packed.blocks[kBlockBytes], 0x87);
    EXPECT_EQ(packed.blocks[kBlockBytes + 1] & 15, 0);
  }
}

// Every block that decodes: all scales 0..252 and every largest code, both signs of every code up
// to it.
struct Decoded {
  Matrix matrix;
  std::vector<std::uint8_t> blocks, scales;
};
Decoded all_blocks(DType dtype) {
  constexpr std::size_t kRows = std::size_t{253} * 8;
  Decoded all{Matrix(dtype, Order::transposed, kRows, kBlockSize),
              std::vector<std::uint8_t>((kRows + 1) * kBlockBytes, 0xA5),
              std::vector<std::uint8_t>(kRows + 1, 0xA5)};
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto scale = static_cast<std::uint8_t>(row / 8);
    const int largest = static_cast<int>(row % 8);
    all.scales[row] = scale;
    for (int i = 0; i < kBlockSize; ++i) {
      const int code = i % (largest + 1) + (i / (largest + 1) % 2) * 8;
      std::uint8_t& byte = all.blocks[row * kBlockBytes + static_cast<std::size_t>(i) / 2];
      byte = static_cast<std::uint8_t>(i % 2 == 0 ? code : byte | code << 4);
      all.matrix.set(row, static_cast<std::size_t>(i),
                     mxfp4::reference::round_to(dtype, mxfp4::reference::exact_value(scale, code)));
    }
  }
  return all;
}

// The law: MXFP4 -> BF16 or FP32 -> MXFP4 returns the same values in every mode, and the same bytes
// where the original's scales are given.
TEST_P(Encode, ReturnsEveryDecodedBlock) {
  for (const DType dtype : {DType::BF16, DType::F32}) {
    const Decoded all = all_blocks(dtype);
    for (const QuantMode mode : modes()) {
      const Packed packed = by_kernel(all.matrix.view(), {.mode = mode});
      for (std::size_t row = 0; row < all.scales.size() - 1; ++row) {
        for (int i = 0; i < kBlockSize; ++i) {
          const std::size_t at = row * kBlockBytes;
          const double before = mxfp4::reference::exact_value(
              all.scales[row], mxfp4::reference::code_at(all.blocks.data() + at, i));
          const double after = mxfp4::reference::exact_value(
              packed.scales[row], mxfp4::reference::code_at(packed.blocks.data() + at, i));
          ASSERT_EQ(before, after) << name(mode) << " block " << row << " weight " << i;
          ASSERT_EQ(std::signbit(before), std::signbit(after));
        }
        // A smaller largest code has a twin: the codes of the doubled values, under half the scale.
        if (row % 8 >= 6) {
          ASSERT_EQ(packed.scales[row], all.scales[row]);
        }
      }
      const Packed kept = by_kernel(
          all.matrix.view(),
          {.mode = mode, .reference_scales = all.scales.data(), .reference_row_bytes = 1});
      EXPECT_EQ(kept.counts.kept, all.scales.size() - 1);
      EXPECT_EQ(kept.blocks, all.blocks);
      EXPECT_EQ(kept.scales, all.scales);
    }
  }
}

TEST_P(Encode, QuantizesItsOwnResultToItself) {
  // gptoss is so in values alone, which the test above shows.
  for (const QuantMode mode : {QuantMode::ocp, QuantMode::even}) {
    const Matrix matrix = all_maxima(DType::BF16, Order::rows);
    const Packed once = by_kernel(matrix.view(), {.mode = mode});
    Matrix decoded(DType::BF16, Order::rows, matrix.view().rows, kBlockSize);
    for (std::size_t row = 0; row < matrix.view().rows; ++row) {
      for (std::size_t i = 0; i < kBlockSize; ++i) {
        decoded.set(
            row, i,
            mxfp4::reference::round_to(
                DType::BF16, mxfp4::reference::exact_value(
                                 once.scales[row],
                                 mxfp4::reference::code_at(once.blocks.data() + row * kBlockBytes,
                                                           static_cast<int>(i)))));
      }
    }
    const Packed twice = by_kernel(decoded.view(), {.mode = mode});
    EXPECT_EQ(once.blocks, twice.blocks) << name(mode);
    EXPECT_EQ(once.scales, twice.scales) << name(mode);
  }
}

TEST_P(Encode, ReportsAndSaturatesWhatIsNotFinite) {
  struct Case {
    std::uint32_t pattern;
    bool refused, refused_saturating;
  };
  for (const auto& [pattern, refused, refused_saturating] :
       {Case{0x7FC0, true, true}, Case{0xFF80, true, false}, Case{0x7F60, true, false},
        Case{0x7F5F, false, false}}) {
    Matrix matrix(DType::BF16, Order::transposed, 40, 2 * kBlockSize);
    matrix.set(35, 33, pattern);
    for (const bool saturate : {false, true}) {
      const EncodeOptions options{.saturate_nonfinite = saturate};
      const Packed packed = by_kernel(matrix.view(), options);
      const auto found = find_unencodable(matrix.view(), options);
      EXPECT_EQ(found.has_value(), saturate ? refused_saturating : refused) << std::hex << pattern;
      if (found) {
        EXPECT_TRUE(packed.counts.suspicious);
        EXPECT_EQ(found->row, 35u);
        EXPECT_EQ(found->column, 33u);
      } else if (pattern >= 0x7F60) {
        EXPECT_EQ(packed.scales[35 * 2 + 1], 252);
        EXPECT_EQ(packed.blocks[(35 * 2 + 1) * kBlockBytes] >> 4, pattern >> 15 << 3 | 7);
      }
    }
  }
}

}  // namespace
}  // namespace mxferry::internal::mxfp4
