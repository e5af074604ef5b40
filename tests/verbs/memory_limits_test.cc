#include "verbs/memory_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>

#include "base/parallel.h"
#include "flow/parts.h"
#include "flow/run.h"
#include "mxferry/error.h"
#include "tests/base/expect_error.h"

namespace mxferry::internal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// gate_up of one layer of gpt-oss-20b.
std::vector<Recipe> real_recipes() {
  return {{.operation = Operation::decode,
           .to = DType::BF16,
           .target_order = AxisOrder::in_out,
           .experts = 32,
           .rows = 5760,
           .columns = 2880}};
}

std::vector<Recipe> any_recipes() {
  std::vector<Recipe> recipes;
  const auto count = *rc::gen::inRange<std::size_t>(0, 4);
  for (std::size_t i = 0; i < count; ++i) {
    recipes.push_back(
        {.operation = *rc::gen::element(Operation::decode, Operation::transpose, Operation::encode),
         .from = *rc::gen::element(DType::BF16, DType::F32),
         .to = *rc::gen::element(DType::BF16, DType::F32),
         .target_order = *rc::gen::element(AxisOrder::in_out, AxisOrder::out_in),
         .experts = *rc::gen::inRange<std::int64_t>(1, 129),
         .rows = *rc::gen::inRange<std::int64_t>(1, 6'000),
         .columns = 32 * *rc::gen::inRange<std::int64_t>(1, 100)});
  }
  return recipes;
}

MemoryFit fit_recipes(const std::vector<Recipe>& recipes, int threads, std::uint64_t max_memory,
                      std::uint64_t header_bytes,
                      std::optional<std::uint64_t> group_memory = std::nullopt) {
  const auto scratch = [&](const TileLimits& limits) {
    return scratch_sizes(recipes, recipes_of_part(recipes, 0, 1), limits).total();
  };
  return fit_memory(scratch, threads, max_memory, header_bytes, group_memory);
}

std::optional<MemoryFit> fit(const std::vector<Recipe>& recipes, int threads,
                             std::uint64_t max_memory, std::uint64_t header_bytes) {
  try {
    return fit_recipes(recipes, threads, max_memory, header_bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_enough_memory);
    return std::nullopt;
  }
}

RC_GTEST_PROP(FitMemory, StaysWithinWhatIsAllowed, ()) {
  const auto recipes = any_recipes();
  const int threads = *rc::gen::inRange(0, 65);
  const auto max_memory = *rc::gen::inRange<std::uint64_t>(1, 2'000) * kMiB;
  const auto header_bytes = *rc::gen::inRange<std::uint64_t>(0, 20 * kMiB);
  const auto found = fit(recipes, threads, max_memory, header_bytes);
  if (!found) return;
  RC_ASSERT(found->peak_memory <= max_memory);
  RC_ASSERT(found->threads >= 1);
  RC_ASSERT(found->threads <= (threads == 0 ? available_threads() : threads));
  if (threads != 0) RC_ASSERT(found->threads == threads);
  const std::uint64_t buffers =
      scratch_sizes(recipes, recipes_of_part(recipes, 0, 1), found->limits).total();
  RC_ASSERT(found->peak_memory >
            static_cast<std::uint64_t>(found->threads) * buffers + header_bytes);
}

RC_GTEST_PROP(FitMemory, FitsIntoMoreWhatFitsIntoLess, ()) {
  const auto recipes = any_recipes();
  const int threads = *rc::gen::inRange(0, 65);
  const auto less = *rc::gen::inRange<std::uint64_t>(1, 500) * kMiB;
  const auto more = less + *rc::gen::inRange<std::uint64_t>(0, 500) * kMiB;
  const auto small = fit(recipes, threads, less, kMiB);
  if (!small) return;
  const auto large = fit(recipes, threads, more, kMiB);
  RC_ASSERT(large.has_value());
  RC_ASSERT(large->threads >= small->threads);
  if (large->threads == small->threads) {
    RC_ASSERT(large->limits.source_bytes >= small->limits.source_bytes);
  }
}

// The refusal names an amount; that amount does.
RC_GTEST_PROP(FitMemory, NamesWhatWouldDo, ()) {
  const auto recipes = any_recipes();
  const int threads = *rc::gen::inRange(0, 65);
  const auto error = testing::error_of([&] { fit_recipes(recipes, threads, kMiB, 0); });
  RC_ASSERT(error.has_value());
  const std::string& expected = error->details().expected;
  RC_ASSERT(expected.starts_with("at least "));
  const std::uint64_t bytes = std::stoull(expected.substr(9));
  RC_ASSERT(fit(recipes, threads, bytes, 0).has_value());
  RC_ASSERT(!fit(recipes, threads, bytes - 1, 0).has_value());
}

TEST(FitMemory, UsesFewerThreadsOnlyWhereNoNumberWasGiven) {
  const auto recipes = real_recipes();
  const std::uint64_t of_64 = fit_recipes(recipes, 64, 1000 * 1024 * kMiB, 0).peak_memory;
  EXPECT_EQ(fit_recipes(recipes, 64, of_64, 0).threads, 64);
  const std::uint64_t enough_for_one = 16 * kMiB;
  EXPECT_ERROR(ErrorCode::not_enough_memory, fit_recipes(recipes, 64, enough_for_one, 0));
  EXPECT_GE(fit_recipes(recipes, 0, enough_for_one, 0).threads, 1);
  EXPECT_EQ(fit_recipes(recipes, 1, enough_for_one, 0).threads, 1);
}

TEST(FitMemory, CutsTilesBeforeThreads) {
  const auto recipes = real_recipes();
  const MemoryFit ample = fit_recipes(recipes, 4, 1024 * kMiB, 0);
  EXPECT_EQ(ample.limits.source_bytes, TileLimits().source_bytes);
  const MemoryFit tight = fit_recipes(recipes, 4, ample.peak_memory - 1, 0);
  EXPECT_EQ(tight.threads, 4);
  EXPECT_LT(tight.limits.source_bytes, ample.limits.source_bytes);
}

TEST(FitMemory, KeepsWithinTheControlGroup) {
  const auto recipes = real_recipes();
  const MemoryFit ample = fit_recipes(recipes, 4, 1024 * kMiB, 0, 2048 * kMiB);
  EXPECT_EQ(ample.peak_memory, fit_recipes(recipes, 4, 1024 * kMiB, 0).peak_memory);
  const std::uint64_t less = ample.peak_memory - 1;
  EXPECT_EQ(fit_recipes(recipes, 4, 1024 * kMiB, 0, less).peak_memory,
            fit_recipes(recipes, 4, less, 0).peak_memory);
}

TEST(FitMemory, SaysThatTheControlGroupIsTooSmall) {
  const auto refusal = [](int threads, std::uint64_t max_memory, std::uint64_t group_memory) {
    const auto error = testing::error_of(
        [&] { fit_recipes(real_recipes(), threads, max_memory, 0, group_memory); });
    return error ? std::string(error->what()) : std::string();
  };
  EXPECT_THAT(refusal(8, 1024 * kMiB, 16 * kMiB),
              AllOf(HasSubstr("control group"), HasSubstr("at least"), HasSubstr("16777216"),
                    HasSubstr("fewer threads")));
  EXPECT_THAT(refusal(1, 1 * kMiB, 2 * kMiB), HasSubstr("--max-memory"));
  EXPECT_THAT(refusal(1, 2 * kMiB, 1 * kMiB), HasSubstr("(container, job)"));
}

TEST(FitMemory, CountsTheHeaders) {
  EXPECT_ERROR(ErrorCode::not_enough_memory, fit_recipes({}, 1, 100 * kMiB, 100 * kMiB));
  EXPECT_GT(fit_recipes({}, 1, 1024 * kMiB, 10 * kMiB).peak_memory,
            fit_recipes({}, 1, 1024 * kMiB, 0).peak_memory + 10 * kMiB);
}

}  // namespace
}  // namespace mxferry::internal
