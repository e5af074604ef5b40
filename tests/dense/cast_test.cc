#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "dense/convert.h"
#include "mxfp4/reference.h"
#include "tests/each_target.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace mxferry::internal::dense {
namespace {

using Patterns = std::vector<std::uint32_t>;

constexpr DType kDtypes[] = {DType::BF16, DType::F16, DType::F32};

std::size_t size_of(DType dtype) {
  return static_cast<std::size_t>(bits(dtype)) / 8;
}

std::vector<std::byte> pack(const Patterns& patterns, DType dtype) {
  std::vector<std::byte> bytes(patterns.size() * size_of(dtype));
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    std::memcpy(bytes.data() + i * size_of(dtype), &patterns[i], size_of(dtype));
  }
  return bytes;
}

Patterns unpack(const std::vector<std::byte>& bytes, DType dtype) {
  Patterns patterns(bytes.size() / size_of(dtype));
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    std::memcpy(&patterns[i], bytes.data() + i * size_of(dtype), size_of(dtype));
  }
  return patterns;
}

// The number that a pattern stands for, from its fields.
double value_of(DType dtype, std::uint32_t pattern) {
  const int exponent_bits = dtype == DType::F16 ? 5 : 8;
  const int mantissa_bits = bits(dtype) - 1 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int field = static_cast<int>(pattern >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const double mantissa = pattern & ((1u << mantissa_bits) - 1);
  const double sign = pattern >> (bits(dtype) - 1) ? -1 : 1;
  if (field == (1 << exponent_bits) - 1) return mantissa == 0 ? sign * HUGE_VAL : std::nan("");
  if (field == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(1 + std::ldexp(mantissa, -mantissa_bits), field - bias);
}

double smallest_normal(DType dtype) {
  return dtype == DType::F16 ? 0x1p-14 : 0x1p-126;
}

struct Cast {
  Patterns patterns;
  Losses losses;
};

Cast run(const Patterns& in, DType from, DType to) {
  const std::vector<std::byte> bytes = pack(in, from);
  std::vector<std::byte> out(in.size() * size_of(to));
  const Losses losses = cast(bytes.data(), from, out.data(), to, in.size());
  return {unpack(out, to), losses};
}

Losses expected_losses(const Patterns& in, DType from, DType to, const Patterns& out) {
  Losses losses;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const double value = std::fabs(value_of(from, in[i]));
    const double result = std::fabs(value_of(to, out[i]));
    if (!std::isfinite(value)) continue;
    if (std::isinf(result) && !losses.first_overflow) losses.first_overflow = i;
    if (value < smallest_normal(to) && result != value) ++losses.underflows;
    if (value != 0 && result == 0) ++losses.flushed;
  }
  return losses;
}

void expect_cast(const Patterns& in, DType from, DType to) {
  const Cast actual = run(in, from, to);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < in.size() && wrong < 5; ++i) {
    const double value = value_of(from, in[i]);
    const bool right = std::isnan(value)
                           ? std::isnan(value_of(to, actual.patterns[i]))
                           : actual.patterns[i] == mxfp4::reference::round_to(to, value);
    if (right) continue;
    ++wrong;
    ADD_FAILURE() << name(from) << " to " << name(to) << ": " << std::hex << in[i] << " became "
                  << actual.patterns[i];
  }
  const Losses expected = expected_losses(in, from, to, actual.patterns);
  EXPECT_EQ(actual.losses.first_overflow, expected.first_overflow);
  EXPECT_EQ(actual.losses.underflows, expected.underflows);
  EXPECT_EQ(actual.losses.flushed, expected.flushed);
}

Patterns every_16_bit_pattern() {
  Patterns patterns(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) patterns[i] = i;
  return patterns;
}

// For every sign, exponent and first 7 bits of mantissa: around the numbers that BF16 and FP16 hold
// and around the middle between two of them, above and below FP16's range of precision.
Patterns difficult_f32_patterns() {
  const std::uint32_t centres[] = {0x0000, 0x1000, 0x2000, 0x3000, 0x4000, 0x8000, 0xC000, 0xF000};
  Patterns patterns;
  for (std::uint32_t upper = 0; upper < 65536; ++upper) {
    for (const std::uint32_t centre : centres) {
      for (const std::uint32_t neighbour : {~0u, 0u, 1u}) {
        patterns.push_back((upper << 16 | centre) + neighbour);
      }
    }
  }
  return patterns;
}

Patterns random_patterns(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Patterns patterns(count);
  for (std::uint32_t& pattern : patterns) pattern = static_cast<std::uint32_t>(random());
  return patterns;
}

class CastEach : public EachTarget {};
MXFERRY_EACH_TARGET(CastEach);

TEST_P(CastEach, IsRightForEveryBf16) {
  for (const DType to : kDtypes) expect_cast(every_16_bit_pattern(), DType::BF16, to);
}

TEST_P(CastEach, IsRightForEveryF16) {
  for (const DType to : kDtypes) expect_cast(every_16_bit_pattern(), DType::F16, to);
}

TEST_P(CastEach, IsRightForDifficultF32) {
  const Patterns patterns = difficult_f32_patterns();
  for (const DType to : kDtypes) expect_cast(patterns, DType::F32, to);
}

TEST_P(CastEach, IsRightForRandomF32) {
  const Patterns patterns = random_patterns(300000, 1);
  for (const DType to : kDtypes) expect_cast(patterns, DType::F32, to);
}

TEST_P(CastEach, IsRightForEveryCount) {
  const Patterns patterns = random_patterns(70, 2);
  for (std::size_t count = 0; count <= patterns.size(); ++count) {
    const Patterns some(patterns.begin(), patterns.begin() + static_cast<std::ptrdiff_t>(count));
    for (const DType from : kDtypes) {
      Patterns in = some;
      if (from != DType::F32) {
        for (std::uint32_t& pattern : in) pattern &= 0xFFFF;
      }
      for (const DType to : kDtypes) expect_cast(in, from, to);
    }
  }
}

TEST_P(CastEach, ReportsTheFirstOverflowOfMany) {
  Patterns patterns(200000, 0x3F800000);
  patterns[5] = 0x7F800000;                          // infinity is none
  patterns[131075] = patterns[150000] = 0x47800000;  // 65536
  EXPECT_EQ(run(patterns, DType::F32, DType::F16).losses.first_overflow, 131075u);
  EXPECT_FALSE(run(patterns, DType::F32, DType::BF16).losses.first_overflow);
}

TEST_P(CastEach, KeepsNanPayloadsWhenWidening) {
  EXPECT_EQ(run({0x7F81, 0xFFC1}, DType::BF16, DType::F32).patterns,
            (Patterns{0x7F810000, 0xFFC10000}));
  EXPECT_EQ(run({0x7F800001, 0xFFA00000}, DType::F32, DType::F16).patterns,
            (Patterns{0x7E00, 0xFF00}));
}

#if defined(__SSE2__)
TEST_P(CastEach, DoesNotDependOnTheFlushToZeroMode) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // results and operands
  const Cast to_bf16 = run(difficult_f32_patterns(), DType::F32, DType::BF16);
  const Cast to_f16 = run(difficult_f32_patterns(), DType::F32, DType::F16);
  const Cast from_f16 = run(every_16_bit_pattern(), DType::F16, DType::F32);
  _mm_setcsr(before);
  EXPECT_EQ(to_bf16.patterns, run(difficult_f32_patterns(), DType::F32, DType::BF16).patterns);
  const Cast to_f16_again = run(difficult_f32_patterns(), DType::F32, DType::F16);
  EXPECT_EQ(to_f16.patterns, to_f16_again.patterns);
  EXPECT_EQ(to_f16.losses.underflows, to_f16_again.losses.underflows);
  EXPECT_EQ(from_f16.patterns, run(every_16_bit_pattern(), DType::F16, DType::F32).patterns);
}
#endif

}  // namespace
}  // namespace mxferry::internal::dense
