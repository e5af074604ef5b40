#include "recipe/chunks.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "flow/run.h"
#include "tests/base/expect_error.h"
#include "tests/flow/any_recipe.h"
#include "tests/flow/in_memory.h"
#include "tests/flow/job.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

// Dimension 0 is the experts, or the elements of a vector.
void set_shape(Job& job, std::size_t target, std::int64_t size) {
  StoredTensor& tensor = job.target[target];
  tensor.shape = {size, size == 0 ? 0 : static_cast<std::int64_t>(tensor.byte_count) / size};
}

Job any_job() {
  Job job;
  const int count = *rc::gen::inRange(1, 5);
  for (int i = 0; i < count; ++i)
    add(job, any_recipe(100), *rc::gen::arbitrary<std::uint64_t>(), false);
  for (const Recipe& recipe : job.recipes) {
    const bool flat = recipe.operation == Operation::copy || recipe.operation == Operation::cast;
    set_shape(job, recipe.target, flat ? recipe.columns : recipe.experts);
    if (recipe.operation == Operation::encode) set_shape(job, recipe.target_scales, recipe.experts);
  }
  return job;
}

FlowOptions any_options(const Source& reference) {
  FlowOptions options;
  options.threads = *rc::gen::inRange(1, 5);
  options.limits = any_limits();
  options.reference = &reference;
  return options;
}

RC_GTEST_PROP(ChunkedRecipes, MakeTheChunksOfWhatTheWholeIs, ()) {
  const Job job = any_job();
  const ChunkedRecipes cut =
      chunk_recipes(job.target, job.recipes, *rc::gen::inRange<std::size_t>(1, 8));
  MemorySink sink(cut.target, cut.parts);
  const MemorySource source(job.input);
  const MemorySource reference(job.reference);
  const ConversionCounts losses = sum(run_flow(cut.recipes, job.source, cut.target, cut.parts,
                                               source, sink, any_options(reference)));
  std::vector<Bytes> joined(job.target.size());
  for (std::size_t i = 0; i < cut.target.size(); ++i) {
    const auto whole = std::ranges::find(job.target, cut.target[i].name, &StoredTensor::name);
    Bytes& bytes = joined[static_cast<std::size_t>(whole - job.target.begin())];
    bytes.insert(bytes.end(), sink.tensors()[i].begin(), sink.tensors()[i].end());
    for (const std::uint8_t writes : sink.writes()[i]) RC_ASSERT(writes == 1);
  }
  RC_ASSERT(joined == job.expected);
  RC_ASSERT(losses.underflows == job.losses.underflows);
  RC_ASSERT(losses.blocks == job.losses.blocks);
  RC_ASSERT(losses.kept == job.losses.kept);
  for (const int times : sink.finished()) RC_ASSERT(times == 1);
}

// Messages speak of the whole tensor.
TEST(ChunkedRecipes, NameTheExpertOfTheSource) {
  Job job;
  add(job,
      {.operation = Operation::decode,
       .to = DType::BF16,
       .target_order = AxisOrder::in_out,
       .experts = 3,
       .rows = 100,
       .columns = 160},
      7, false, 25);
  set_shape(job, 0, 3);
  job.input[1][(2 * 100 + 33) * 5 + 4] = std::byte{255};
  const ChunkedRecipes cut = chunk_recipes(job.target, job.recipes, 2);
  MemorySink sink(cut.target, cut.parts);
  const MemorySource source(job.input);
  const auto error =
      error_of([&] { run_flow(cut.recipes, job.source, cut.target, cut.parts, source, sink, {}); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::nonfinite_block);
  EXPECT_NE(std::string(error->what()).find("expert 2, row 33, group 4"), std::string::npos)
      << error->what();
}

}  // namespace
}  // namespace mxferry::internal
