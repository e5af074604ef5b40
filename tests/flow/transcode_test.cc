#include "flow/transcode.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "flow/parts.h"
#include "flow/run.h"
#include "mxferry/mxfp4.h"
#include "tests/base/expect_error.h"
#include "tests/flow/any_recipe.h"
#include "tests/flow/in_memory.h"
#include "tests/flow/job.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

std::uint64_t any_seed() {
  return *rc::gen::arbitrary<std::uint64_t>();
}

Job any_job() {
  Job job;
  job.shards = *rc::gen::inRange<std::size_t>(1, 4);
  const int count = *rc::gen::inRange(1, 5);
  for (int i = 0; i < count; ++i) {
    add(job, any_recipe(150), any_seed(), *rc::gen::inRange(0, 4) == 0);
  }
  for (StoredTensor& tensor : job.target)
    tensor.shard = *rc::gen::inRange<std::size_t>(0, job.shards);
  return job;
}

FlowOptions any_options() {
  FlowOptions options;
  options.threads = *rc::gen::inRange(1, 5);
  options.limits = any_limits();
  return options;
}

ConversionCounts run(const Job& job, MemorySink& sink, const FlowOptions& options) {
  const MemorySource source(job.input);
  const MemorySource reference(job.reference);
  FlowOptions with_reference = options;
  with_reference.reference = &reference;
  return sum(
      run_flow(job.recipes, job.source, job.target, job.shards, source, sink, with_reference));
}

bool is_covered_once(const Job& job, const MemorySink& sink) {
  std::vector<std::vector<std::uint8_t>> expected;
  for (const StoredTensor& tensor : job.target) expected.emplace_back(tensor.byte_count);
  for (const Recipe& recipe : job.recipes) {
    if (recipe.operation == Operation::encode) {
      for (const std::size_t target : {recipe.target, recipe.target_scales}) {
        for (std::uint8_t& writes : expected[target]) ++writes;
      }
      continue;
    }
    for (std::size_t i = 0; i < target_bytes(recipe); ++i) {
      ++expected[recipe.target][recipe.target_offset + i];
    }
  }
  return sink.writes() == expected;
}

RC_GTEST_PROP(Flow, MakesWhatTheFormatsDefineWhateverLimitsAndThreads, ()) {
  const Job job = any_job();
  MemorySink sink(job.target, job.shards);
  const ConversionCounts losses = run(job, sink, any_options());
  RC_ASSERT(is_covered_once(job, sink));
  RC_ASSERT(sink.tensors() == job.expected);
  RC_ASSERT(losses.underflows == job.losses.underflows);
  RC_ASSERT(losses.flushed == job.losses.flushed);
  RC_ASSERT(losses.blocks == job.losses.blocks);
  RC_ASSERT(losses.kept == job.losses.kept);
  RC_ASSERT(losses.saturated == job.losses.saturated);
  for (const int times : sink.finished()) RC_ASSERT(times == 1);
}

// Law 2: what ranks write together is what one process writes.
RC_GTEST_PROP(Flow, OfSeveralRanksWritesEveryByteOnce, ()) {
  const Job job = any_job();
  const int world = *rc::gen::inRange(1, 7);
  std::vector<Bytes> together;
  std::vector<std::vector<std::uint8_t>> writes;
  for (const StoredTensor& tensor : job.target) {
    together.emplace_back(tensor.byte_count);
    writes.emplace_back(tensor.byte_count);
  }
  for (int rank = 0; rank < world; ++rank) {
    FlowOptions options = any_options();
    options.parts = recipes_of_part(job.recipes, rank, world);
    const std::vector<Coverage> shares =
        shard_coverage(job.recipes, *options.parts, job.target, job.shards);
    MemorySink sink(job.target, job.shards);
    run(job, sink, options);
    for (std::size_t shard = 0; shard < job.shards; ++shard) {
      RC_ASSERT(sink.finished()[shard] == (shares[shard] == Coverage::none ? 0 : 1));
    }
    for (std::size_t tensor = 0; tensor < together.size(); ++tensor) {
      for (std::size_t i = 0; i < together[tensor].size(); ++i) {
        together[tensor][i] |= sink.tensors()[tensor][i];
        writes[tensor][i] += sink.writes()[tensor][i];
      }
    }
  }
  RC_ASSERT(together == job.expected);
  MemorySink alone(job.target, job.shards);
  run(job, alone, {});
  RC_ASSERT(writes == alone.writes());
}

RC_GTEST_PROP(Flow, DecodesEveryScaleWhereNonfiniteIsAllowed, ()) {
  Recipe recipe = any_recipe(100);
  recipe.operation = Operation::decode;
  recipe.columns = kBlockSize * *rc::gen::inRange<std::int64_t>(1, 7);
  recipe.to = *rc::gen::element(DType::BF16, DType::F32);
  Job job;
  add(job, recipe, any_seed(), false, 256);
  MemorySink sink(job.target, 1);
  FlowOptions options = any_options();
  options.allow_nonfinite = true;
  run(job, sink, options);
  RC_ASSERT(sink.tensors() == job.expected);
}

// One recipe whose input is then spoilt; 3 experts of 100 rows and 5 groups.
Job one_decode(DType to, AxisOrder order) {
  Job job;
  add(job,
      {.operation = Operation::decode,
       .to = to,
       .target_order = order,
       .experts = 3,
       .rows = 100,
       .columns = 160},
      7, false, 25);
  return job;
}

std::optional<Error> error_of_run(const Job& job, const FlowOptions& options) {
  MemorySink sink(job.target, job.shards);
  return error_of([&] { run(job, sink, options); });
}

struct BadBlock {
  std::size_t expert, row, group;
  std::string text;
};
const std::vector<BadBlock>& bad_blocks() {
  static const std::vector<BadBlock> all = {{0, 0, 0, "expert 0, row 0, group 0"},
                                            {1, 33, 2, "expert 1, row 33, group 2"},
                                            {2, 99, 4, "expert 2, row 99, group 4"}};
  return all;
}

Job with_bad_block(Job job, const BadBlock& bad, int scale) {
  const std::size_t block = (bad.expert * 100 + bad.row) * 5 + bad.group;
  job.input[1][block] = static_cast<std::byte>(scale);
  for (int i = 0; i < kBlockBytes; ++i) {
    job.input[0][block * kBlockBytes + static_cast<std::size_t>(i)] = std::byte{0x77};
  }
  return job;
}

const std::vector<FlowOptions>& small_and_large() {
  static const std::vector<FlowOptions> all = {
      {.threads = 1},
      {.threads = 3, .limits = {.source_bytes = 3'000, .target_bytes = 500, .parts = 7}}};
  return all;
}

TEST(Flow, RefusesANonfiniteBlockByItsPlace) {
  for (const FlowOptions& options : small_and_large()) {
    for (const AxisOrder order : {AxisOrder::out_in, AxisOrder::in_out}) {
      for (const BadBlock& bad : bad_blocks()) {
        for (const int scale : {253, 254, 255}) {
          const Job job = with_bad_block(one_decode(DType::BF16, order), bad, scale);
          const auto error = error_of_run(job, options);
          ASSERT_TRUE(error);
          EXPECT_EQ(error->code(), ErrorCode::nonfinite_block);
          EXPECT_EQ(error->details().tensor, "source.0");
          EXPECT_TRUE(error->details().problem.ends_with(bad.text)) << error->what();
        }
      }
    }
  }
}

TEST(Flow, RefusesAWeightBeyondF16ByItsPlace) {
  for (const FlowOptions& options : small_and_large()) {
    for (const BadBlock& bad : bad_blocks()) {
      const Job job = with_bad_block(one_decode(DType::F16, AxisOrder::in_out), bad, 141);
      const auto error = error_of_run(job, options);
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code(), ErrorCode::overflow);
      EXPECT_TRUE(error->details().problem.ends_with(bad.text)) << error->what();
    }
  }
  const Job largest =
      with_bad_block(one_decode(DType::F16, AxisOrder::in_out), bad_blocks()[1], 140);
  EXPECT_FALSE(error_of_run(largest, {}));
}

TEST(Flow, RefusesADenseValueBeyondItsTargetByItsPlace) {
  for (const Operation operation : {Operation::cast, Operation::transpose}) {
    for (const FlowOptions& options : small_and_large()) {
      Job job;
      const Recipe recipe{.operation = operation,
                          .from = DType::BF16,
                          .to = DType::F16,
                          .target_order = AxisOrder::in_out,
                          .rows = operation == Operation::cast ? 1 : 50,
                          .columns = 70};
      add(job, recipe, 4, false);  // with 16 bytes before the first element
      ASSERT_EQ(job.recipes[0].source_offset, 16U);
      store(job.input[0], 16 + 69 * 2, DType::BF16, 65536.0);
      const auto error = error_of_run(job, options);
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code(), ErrorCode::overflow);
      EXPECT_TRUE(error->details().problem.ends_with("element 77")) << error->what();
    }
  }
}

// One recipe with a weight that MXFP4 cannot hold.
Job with_bad_weight(DType from, AxisOrder order, double value, const BadBlock& bad) {
  Job job;
  const Recipe recipe{.operation = Operation::encode,
                      .from = from,
                      .source_order = order,
                      .experts = 3,
                      .rows = 100,
                      .columns = 160};
  add(job, recipe, 11, false);
  const std::size_t index = place(recipe, order, static_cast<std::int64_t>(bad.expert),
                                  static_cast<std::int64_t>(bad.row),
                                  static_cast<std::int64_t>(bad.group * kBlockSize + 5));
  store(job.input[0], job.recipes[0].source_offset + index * element_bytes(from), from, value);
  return job;
}

TEST(Flow, RefusesAWeightThatMxfp4CannotHoldByItsPlace) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (FlowOptions options : small_and_large()) {
    for (const AxisOrder order : {AxisOrder::out_in, AxisOrder::in_out}) {
      for (const DType from : {DType::BF16, DType::F16, DType::F32}) {
        for (const BadBlock& bad : bad_blocks()) {
          const std::string text = "expert " + std::to_string(bad.expert) + ", row " +
                                   std::to_string(bad.row) + ", column " +
                                   std::to_string(bad.group * kBlockSize + 5);
          for (const double value : {nan, -infinity}) {
            const auto error = error_of_run(with_bad_weight(from, order, value, bad), options);
            ASSERT_TRUE(error);
            EXPECT_EQ(error->code(), ErrorCode::nonfinite_weight);
            EXPECT_EQ(error->details().tensor, "source.0");
            EXPECT_TRUE(error->details().problem.ends_with(text)) << error->what();
          }
          options.allow_nonfinite = true;
          EXPECT_TRUE(error_of_run(with_bad_weight(from, order, nan, bad), options));
          EXPECT_FALSE(error_of_run(with_bad_weight(from, order, infinity, bad), options));
          options.allow_nonfinite = false;
        }
      }
    }
  }
}

TEST(Flow, StopsOnRequest) {
  for (const int threads : {1, 4}) {
    const Job job = one_decode(DType::BF16, AxisOrder::in_out);
    std::stop_source stop;
    std::atomic<int> reads = 0;
    MemorySource source(job.input);
    source.on_read = [&] {
      if (++reads == 5) stop.request_stop();
    };
    MemorySink sink(job.target, 1);
    const FlowOptions options{.threads = threads,
                              .limits = {.source_bytes = 1, .target_bytes = 500, .parts = 1},
                              .stop = stop.get_token()};
    EXPECT_ERROR(ErrorCode::cancelled,
                 run_flow(job.recipes, job.source, job.target, 1, source, sink, options));
    EXPECT_EQ(sink.finished()[0], 0);
    EXPECT_LT(reads, 12 * 2);  // 12 tiles of 32 rows or less, two reads each
  }
}

TEST(Flow, PassesOnWhatSourceAndSinkThrow) {
  const Error refused(ErrorCode::io_error, {.problem = "refused"});
  for (const int threads : {1, 4}) {
    for (const bool from_source : {true, false}) {
      const Job job = one_decode(DType::F32, AxisOrder::out_in);
      MemorySource source(job.input);
      MemorySink sink(job.target, 1);
      std::atomic<int> transfers = 0;
      const auto fail = [&] {
        if (++transfers == 4) throw refused;
      };
      (from_source ? source.on_read : sink.on_write) = fail;
      const FlowOptions options{.threads = threads,
                                .limits = {.source_bytes = 1, .target_bytes = 500, .parts = 1}};
      EXPECT_ERROR(ErrorCode::io_error,
                   run_flow(job.recipes, job.source, job.target, 1, source, sink, options));
      EXPECT_EQ(sink.finished()[0], 0);
    }
  }
}

TEST(Flow, ReportsProgressThatNeverFallsOrExceedsTheTarget) {
  const Job job = one_decode(DType::BF16, AxisOrder::in_out);
  std::vector<std::uint64_t> reports;
  FlowOptions options = small_and_large()[1];
  options.progress = [&](std::uint64_t bytes) { reports.push_back(bytes); };
  MemorySink sink(job.target, 1);
  run(job, sink, options);
  ASSERT_FALSE(reports.empty());
  EXPECT_TRUE(std::ranges::is_sorted(reports));
  EXPECT_GT(reports.front(), 0U);
  EXPECT_LE(reports.back(), job.expected[0].size());
}

TEST(Flow, FinishesShardsWithoutData) {
  Job job;
  job.shards = 3;
  job.target.push_back({"empty", DType::F32, {0}, 1, 0, 0});
  job.source.push_back({"empty", DType::F32, {0}, 0, 0, 0});
  job.input.emplace_back();
  job.recipes.push_back({});
  MemorySink sink(job.target, job.shards);
  run(job, sink, {});
  EXPECT_EQ(sink.finished(), (std::vector<int>{1, 1, 1}));
}

}  // namespace
}  // namespace mxferry::internal
