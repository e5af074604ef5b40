#include "dense/compare.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "base/memory.h"
#include "tests/each_target.h"

namespace mxferry::internal::dense {
namespace {

// Two matrices and what each block of B holds, with figures one weight at a time.
struct Case {
  DType dtype;
  Blocks blocks;
  std::size_t lines, length;
  std::shared_ptr<std::byte> a, b;
  std::vector<float> limits;

  Pair pair() const { return {a.get(), b.get(), dtype, lines, length}; }
  std::size_t block_of(std::size_t i) const {
    if (blocks == Blocks::along_lines) return i / kRun;
    return i / length / kRun * length + i % length;
  }
};

void put(Case& c, std::byte* side, std::size_t i, float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  const auto narrow = static_cast<std::uint16_t>(bits >> 16);
  if (c.dtype == DType::F32) std::memcpy(side + 4 * i, &bits, 4);
  if (c.dtype == DType::BF16) std::memcpy(side + 2 * i, &narrow, 2);
}

bool is_equal(double a, double b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}

Difference expected(const Case& c) {
  Difference d;
  std::vector<bool> changed(c.lines * c.length), saturated(c.lines * c.length);
  for (std::size_t i = 0; i < c.lines * c.length; ++i) {
    const double a = weight(c.a.get(), c.dtype, i);
    const double b = weight(c.b.get(), c.dtype, i);
    ++d.weights;
    if (!is_equal(a, b)) {
      ++d.different;
      if (c.blocks != Blocks::none) changed[c.block_of(i)] = true;
    } else if (!std::isnan(a) && std::signbit(a) != std::signbit(b)) {
      ++d.zero_signs;
    }
    if (!c.limits.empty() && std::fabs(a) > double{c.limits[c.block_of(i)]}) {
      saturated[c.block_of(i)] = true;
    }
    const double error = double{static_cast<float>(b) - static_cast<float>(a)};
    if (!std::isfinite(error)) continue;
    d.max_absolute_error = std::max(d.max_absolute_error, std::fabs(error));
    if (a != 0) {
      d.max_relative_error =
          std::max(d.max_relative_error,
                   double{std::fabs(static_cast<float>(error)) / std::fabs(static_cast<float>(a))});
    }
    d.signal += a * a;
    d.noise += error * error;
  }
  if (c.blocks != Blocks::none) d.blocks = d.weights / kRun;
  d.blocks_changed = static_cast<std::uint64_t>(std::count(changed.begin(), changed.end(), true));
  d.blocks_saturated =
      static_cast<std::uint64_t>(std::count(saturated.begin(), saturated.end(), true));
  return d;
}

bool is_close(double a, double b) {
  return a == b || std::fabs(a - b) <= 1e-5 * std::fabs(b);
}

bool agree(const Difference& found, const Difference& wanted) {
  return found.weights == wanted.weights && found.different == wanted.different &&
         found.zero_signs == wanted.zero_signs && found.blocks == wanted.blocks &&
         found.blocks_changed == wanted.blocks_changed &&
         found.blocks_saturated == wanted.blocks_saturated &&
         found.max_absolute_error == wanted.max_absolute_error &&
         is_close(found.max_relative_error, wanted.max_relative_error) &&
         is_close(found.signal, wanted.signal) && is_close(found.noise, wanted.noise);
}

std::string text(const Difference& d) {
  std::ostringstream out;
  out << d.weights << " weights, " << d.different << " different, " << d.zero_signs << " signs, "
      << d.blocks_changed << "/" << d.blocks_saturated << "/" << d.blocks << " blocks, "
      << d.max_absolute_error << " absolute, " << d.max_relative_error << " relative, " << d.signal
      << ", " << d.noise;
  return out.str();
}

float any_value(std::uint64_t random, int spread) {
  switch (random % 40) {
    case 0:
      return std::numeric_limits<float>::quiet_NaN();
    case 1:
      return -std::numeric_limits<float>::infinity();
    case 2:
      return -0.0F;
    case 3:
      return 0.0F;
    default: {
      const auto exponent =
          static_cast<int>((random >> 20) % static_cast<unsigned>(spread)) - spread / 2;
      const float magnitude =
          std::ldexp(1.0F + static_cast<float>(random >> 32 & 127) / 128, exponent);
      return random >> 63 != 0 ? -magnitude : magnitude;
    }
  }
}

Case any_case() {
  Case c;
  c.dtype = *rc::gen::element(DType::BF16, DType::F32);
  c.blocks = *rc::gen::element(Blocks::none, Blocks::along_lines, Blocks::across_lines);
  c.lines = *rc::gen::inRange<std::size_t>(1, 5) * (c.blocks == Blocks::across_lines ? kRun : 1);
  c.length = *rc::gen::inRange<std::size_t>(1, 70) * (c.blocks == Blocks::along_lines ? kRun : 1);
  const std::size_t count = c.lines * c.length;
  c.a = allocate_bytes(count * 4);
  c.b = allocate_bytes(count * 4);
  auto state = *rc::gen::arbitrary<std::uint64_t>();
  const auto random = [&] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return state ^ state >> 29;
  };
  // Mostly sizes as a model has them, sometimes all that there are.
  const int spread = *rc::gen::element(20, 20, 240);
  const auto changes = *rc::gen::element(1, 3, 1000);
  for (std::size_t i = 0; i < count; ++i) {
    const float value = any_value(random(), spread);
    put(c, c.a.get(), i, value);
    put(c, c.b.get(), i,
        random() % static_cast<unsigned>(changes) == 0 ? any_value(random(), spread) : value);
  }
  if (c.blocks != Blocks::none && *rc::gen::arbitrary<bool>()) {
    for (std::size_t i = 0; i < count / kRun; ++i) {
      c.limits.push_back(std::fabs(std::ldexp(6.0F, static_cast<int>(random() % 20) - 10)));
    }
  }
  return c;
}

RC_GTEST_PROP(CompareProperty, FindsWhatOneWeightAtATimeFinds, ()) {
  const Case c = any_case();
  const Difference wanted = expected(c);
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    const Difference found =
        compare(c.pair(), c.blocks, c.limits.empty() ? nullptr : c.limits.data());
    hwy::SetSupportedTargetsForTest(0);
    RC_LOG() << hwy::TargetName(target) << ": " << text(found) << "\n" << text(wanted);
    RC_ASSERT(agree(found, wanted));
  }
  if (wanted.max_absolute_error > 0) {
    const std::size_t i = find_error(c.pair(), wanted.max_absolute_error);
    const double error = weight(c.b.get(), c.dtype, i) - weight(c.a.get(), c.dtype, i);
    RC_ASSERT(static_cast<float>(std::fabs(error)) ==
              static_cast<float>(wanted.max_absolute_error));
  }
}

RC_GTEST_PROP(CompareProperty, EqualBytesAreEqualEitherWay, ()) {
  Case c = any_case();
  c.b = c.a;
  c.limits.clear();
  const auto fast = compare_if_equal(c.pair(), c.blocks);
  if (!fast) return;  // something is not finite
  RC_ASSERT(agree(*fast, compare(c.pair(), c.blocks, nullptr)));
  put(c, c.a.get(), 0, 77);
  c.b = allocate_bytes(c.lines * c.length * 4);
  std::memcpy(c.b.get(), c.a.get(), c.lines * c.length * (c.dtype == DType::F32 ? 4 : 2));
  put(c, c.b.get(), c.lines * c.length - 1, 78);
  RC_ASSERT(!compare_if_equal(c.pair(), c.blocks));
}

TEST(Difference, IsInDecibels) {
  Difference d{.signal = 100, .noise = 1};
  EXPECT_DOUBLE_EQ(d.sqnr_db(), 20);
  d.noise = 0;
  EXPECT_EQ(d.sqnr_db(), std::numeric_limits<double>::infinity());
  EXPECT_EQ((Difference{.noise = 1}).sqnr_db(), -std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace mxferry::internal::dense
