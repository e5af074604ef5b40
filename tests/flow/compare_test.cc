#include "flow/compare.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "mxfp4/encode_reference.h"
#include "tests/flow/any_recipe.h"
#include "tests/flow/in_memory.h"
#include "tests/flow/job.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

// One side of a comparison: tensors in memory, and what they hold in [expert, row, column] order.
struct Side {
  StoredSide form;
  std::vector<Bytes> tensors;
  std::vector<double> values;
};

using Weights = std::vector<double>;

Side dense_side(const Comparison& c, const Weights& weights, DType dtype, AxisOrder order) {
  Side side{.form = {.dtype = dtype, .order = order, .offset = 8}, .tensors = {}, .values = {}};
  Bytes bytes(8 + weights.size() * element_bytes(dtype));
  const Recipe shape{.experts = c.experts, .rows = c.rows, .columns = c.columns};
  for_each_weight(shape, [&](std::int64_t e, std::int64_t r, std::int64_t k, std::size_t i) {
    store(bytes, 8 + place(shape, order, e, r, k) * element_bytes(dtype), dtype, weights[i]);
    std::uint32_t pattern = mxfp4::reference::round_to(dtype, weights[i]);
    mxfp4::DenseView one{.data = reinterpret_cast<const std::byte*>(&pattern),
                         .dtype = dtype,
                         .stride = 1,
                         .rows = 1,
                         .columns = 1};
    side.values.push_back(mxfp4::reference::weight_at(one, 0, 0));
  });
  side.tensors.push_back(std::move(bytes));
  return side;
}

Side packed_side(const Weights& weights) {
  Side side{.form = {.packed = true, .tensor = 0, .scales = 1}, .tensors = {}, .values = {}};
  Bytes blocks, scales;
  const mxfp4::QuantRow row = mxfp4::quant_row(QuantMode::ocp);
  for (std::size_t i = 0; i < weights.size(); i += kBlockSize) {
    std::array<std::uint8_t, kBlockBytes> block{};
    const auto made = mxfp4::reference::encode_block(weights.data() + i, row, {}, block.data());
    for (const std::uint8_t byte : block) blocks.push_back(std::byte{byte});
    scales.push_back(std::byte{made.scale});
    for (int k = 0; k < kBlockSize; ++k) {
      side.values.push_back(
          mxfp4::reference::exact_value(made.scale, mxfp4::reference::code_at(block.data(), k)));
    }
  }
  side.tensors = {std::move(blocks), std::move(scales)};
  return side;
}

Side any_side(const Comparison& c, const Weights& weights) {
  const int kind = *rc::gen::inRange(0, 8);
  const AxisOrder order = *rc::gen::element(AxisOrder::out_in, AxisOrder::in_out);
  if (kind < 4) return packed_side(weights);
  return dense_side(c, weights, *rc::gen::element(DType::BF16, DType::F16, DType::F32), order);
}

// One weight at a time, expert by expert.
std::vector<Difference> expected(const Comparison& c, const Side& a, const Side& b) {
  std::vector<Difference> experts(static_cast<std::size_t>(c.experts));
  const auto of_expert = static_cast<std::size_t>(c.rows * c.columns);
  const bool has_blocks = a.form.packed || b.form.packed;
  for (std::size_t begin = 0; begin < a.values.size(); begin += kBlockSize) {
    Difference& d = experts[begin / of_expert];
    bool changed = false, saturated = false;
    for (std::size_t i = begin; i < begin + kBlockSize; ++i) {
      const double x = a.values[i];
      const double y = b.values[i];
      ++d.weights;
      d.different += x != y;
      d.zero_signs += x == y && std::signbit(x) != std::signbit(y);
      changed |= x != y;
      d.max_absolute_error = std::max(d.max_absolute_error, std::fabs(y - x));
      d.signal += x * x;
      d.noise += (y - x) * (y - x);
      if (!b.form.packed) continue;
      const auto scale = std::to_integer<std::uint8_t>(b.tensors[1][begin / kBlockSize]);
      saturated |= std::fabs(x) > std::ldexp(6.0, scale - kScaleBias);
    }
    if (!has_blocks) continue;
    ++d.blocks;
    d.blocks_changed += changed;
    d.blocks_saturated += saturated;
  }
  return experts;
}

bool is_close(double a, double b) {
  return std::fabs(a - b) <= 1e-5 * std::fabs(b);
}

RC_GTEST_PROP(Comparison, FindsWhatOneWeightAtATimeFinds, ()) {
  Comparison c;
  c.experts = *rc::gen::inRange<std::int64_t>(1, 4);
  c.rows = *rc::gen::inRange<std::int64_t>(1, 90);
  c.columns = kBlockSize * *rc::gen::inRange<std::int64_t>(1, 6);
  auto seed = *rc::gen::arbitrary<std::uint64_t>();
  Weights weights(static_cast<std::size_t>(c.experts * c.rows * c.columns));
  for (double& weight : weights) weight = any_value(DType::F16, seed = mix(seed)) / 64;
  const Side a = any_side(c, weights);
  const bool changes = *rc::gen::arbitrary<bool>();
  if (changes) weights[mix(seed) % weights.size()] += 0.5;
  const Side b = any_side(c, weights);
  c.a = a.form;
  c.b = b.form;
  const MemorySource source_a(a.tensors), source_b(b.tensors);
  const ComparisonReport report = run_comparisons(
      {c}, source_a, source_b, {.threads = *rc::gen::inRange(1, 4), .limits = any_limits()});
  const auto wanted = expected(c, a, b);
  RC_ASSERT(report.results.size() == 1u);
  const ComparisonResult& found = report.results[0];
  RC_ASSERT(found.experts.size() == wanted.size());
  for (std::size_t e = 0; e < wanted.size(); ++e) {
    RC_ASSERT(found.experts[e].weights == wanted[e].weights);
    RC_ASSERT(found.experts[e].different == wanted[e].different);
    RC_ASSERT(found.experts[e].zero_signs == wanted[e].zero_signs);
    RC_ASSERT(found.experts[e].blocks == wanted[e].blocks);
    RC_ASSERT(found.experts[e].blocks_changed == wanted[e].blocks_changed);
    RC_ASSERT(found.experts[e].blocks_saturated == wanted[e].blocks_saturated);
    RC_ASSERT(is_close(found.experts[e].max_absolute_error, wanted[e].max_absolute_error));
    RC_ASSERT(is_close(found.experts[e].signal, wanted[e].signal));
    RC_ASSERT(is_close(found.experts[e].noise, wanted[e].noise));
  }
  const bool differs = found.total().different > 0;
  RC_ASSERT(found.worst.has_value() == differs);
  if (differs) {
    const auto i = static_cast<std::size_t>(
        (found.worst->expert * c.rows + found.worst->row) * c.columns + found.worst->column);
    RC_ASSERT(found.worst->a == a.values[i]);
    RC_ASSERT(found.worst->b == b.values[i]);
  }
  const bool alike =
      a.form.packed == b.form.packed &&
      (a.form.packed || (a.form.dtype == b.form.dtype && a.form.order == b.form.order));
  RC_ASSERT(found.bytes_identical == (alike && a.tensors == b.tensors));
  const auto scales = [](const std::array<std::uint64_t, 256>& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  };
  RC_ASSERT(scales(report.scales_a) == (a.form.packed ? weights.size() / kBlockSize : 0));
  RC_ASSERT(scales(report.scales_b) == (b.form.packed ? weights.size() / kBlockSize : 0));
}

TEST(ComparisonTransposed, IsSeenInSquareMatricesOfEveryForm) {
  const Comparison square{.a = {}, .b = {}, .experts = 2, .rows = 96, .columns = 96};
  Weights weights(2 * 96 * 96), turned(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = any_value(DType::BF16, mix(i)) / 64;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    turned[i / 9216 * 9216 + i % 96 * 96 + i / 96 % 96] = weights[i];
  }
  for (const AxisOrder order : {AxisOrder::out_in, AxisOrder::in_out}) {
    const Side a = dense_side(square, weights, DType::F32, order);
    for (const Side& b : {packed_side(turned), dense_side(square, turned, DType::BF16, order)}) {
      const Comparison c{.a = a.form, .b = b.form, .experts = 2, .rows = 96, .columns = 96};
      EXPECT_TRUE(is_transposed(c, MemorySource(a.tensors), MemorySource(b.tensors)));
    }
    for (const Side& b : {packed_side(weights), dense_side(square, weights, DType::F16, order)}) {
      const Comparison c{.a = a.form, .b = b.form, .experts = 2, .rows = 96, .columns = 96};
      EXPECT_FALSE(is_transposed(c, MemorySource(a.tensors), MemorySource(b.tensors)));
    }
  }
}

TEST(Comparison, StopsOnRequestAndPassesErrorsOn) {
  const Comparison c{.a = {.dtype = DType::F32}, .b = {.dtype = DType::F32}, .columns = 100};
  MemorySource source({Bytes(400)});
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(run_comparisons({c}, source, source, {.stop = stop.get_token()}), Error);
  source.on_read = [] { throw Error(ErrorCode::io_error, {.problem = "refused"}); };
  EXPECT_THROW(run_comparisons({c}, source, source, {}), Error);
}

}  // namespace
}  // namespace mxferry::internal
