#include "flow/region.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <stop_token>
#include <vector>

#include "flow/region_tiles.h"
#include "tests/base/expect_error.h"
#include "tests/flow/any_recipe.h"
#include "tests/flow/in_memory.h"
#include "tests/flow/job.h"

namespace mxferry::internal {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

constexpr std::byte kUntouched{0xA5};

// A recipe and the shape of the tensor that it fills.
struct Drawn {
  Recipe recipe;
  Shape shape;
};

Drawn any_tensor() {
  Recipe recipe =
      *rc::gen::suchThat(rc::gen::exec([] { return any_recipe(300); }),
                         [](const Recipe& r) { return r.operation != Operation::encode; });
  if (recipe.operation == Operation::decode || recipe.operation == Operation::transpose) {
    const bool in_out = recipe.target_order == AxisOrder::in_out;
    return {recipe,
            {recipe.experts, in_out ? recipe.columns : recipe.rows,
             in_out ? recipe.rows : recipe.columns}};
  }
  Shape shape(static_cast<std::size_t>(*rc::gen::inRange(0, 5)));
  for (std::int64_t& size : shape) size = *rc::gen::inRange<std::int64_t>(1, 9);
  recipe.columns = element_count(shape);
  if (recipe.operation == Operation::copy) {
    recipe.columns *= static_cast<std::int64_t>(element_bytes(recipe.from));
  }
  return {recipe, shape};
}

// Memory of a box whose dimensions have gaps between them, or have none.
struct Memory {
  Memory(const Shape& extent, std::size_t element) {
    std::int64_t size = 1;
    strides.resize(extent.size());
    for (std::size_t i = extent.size(); i-- > 0;) {
      strides[i] = size;
      size *= extent[i];
      if (i > 0) size += *rc::gen::element<std::int64_t>(0, 0, 3);
    }
    bytes.assign(static_cast<std::size_t>(size) * element, kUntouched);
  }

  std::vector<std::int64_t> strides;
  Bytes bytes;
};

// Calls visit(index in the tensor, index in memory) for every element of the box.
template <typename Visit>
void for_each_element(const RegionRead& region, const Visit& visit) {
  const std::int64_t count = element_count(region.extent);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t rest = i;
    std::int64_t memory = 0;
    std::int64_t tensor = 0;
    std::int64_t tensor_step = 1;
    for (std::size_t dim = region.shape.size(); dim-- > 0;) {
      const std::int64_t place = rest % region.extent[dim];
      rest /= region.extent[dim];
      memory += place * region.strides[dim];
      tensor += (region.begin[dim] + place) * tensor_step;
      tensor_step *= region.shape[dim];
    }
    visit(static_cast<std::size_t>(tensor), static_cast<std::size_t>(memory));
  }
}

struct AnyBox {
  explicit AnyBox(const Shape& shape) {
    for (const std::int64_t size : shape) {
      const bool whole = *rc::gen::arbitrary<bool>();
      begin.push_back(whole ? 0 : *rc::gen::inRange<std::int64_t>(0, size + 1));
      const std::int64_t rest = size - begin.back();
      extent.push_back(whole ? size : *rc::gen::inRange<std::int64_t>(0, rest + 1));
    }
  }
  Shape begin, extent;
};

RC_GTEST_PROP(RegionTest, FillsTheBoxAsTheWholeTensorIsAndNothingElse, ()) {
  const auto [drawn, shape] = any_tensor();
  Job job;
  add(job, drawn, *rc::gen::arbitrary<std::uint64_t>(), false);
  Recipe recipe = job.recipes[0];
  recipe.target_offset = 0;
  const DType to = recipe.operation == Operation::copy ? recipe.from : recipe.to;
  const std::size_t size = element_bytes(to);
  const AnyBox box(shape);
  Memory memory(box.extent, size);
  const RegionRead region{.recipe = &recipe,
                          .shape = shape,
                          .begin = box.begin,
                          .extent = box.extent,
                          .data = memory.bytes.data(),
                          .strides = memory.strides,
                          .from = recipe.operation == Operation::decode ? DType::U8 : recipe.from,
                          .to = to};
  const MemorySource source(job.input);
  const int threads = *rc::gen::inRange(1, 4);
  const std::int64_t tile_bytes = *rc::gen::element<std::int64_t>(1, 100, 5000, 1 << 20);
  read_regions({region}, source, {.threads = threads, .tile_bytes = tile_bytes});

  Bytes wanted(memory.bytes.size(), kUntouched);
  for_each_element(region, [&](std::size_t tensor, std::size_t place) {
    std::copy_n(job.expected[0].begin() + static_cast<std::ptrdiff_t>(tensor * size), size,
                wanted.begin() + static_cast<std::ptrdiff_t>(place * size));
  });
  RC_ASSERT(memory.bytes == wanted);
}

// A box of packed weights [1, out = 40, in = 64 * 32], decoded in this order.
struct PackedCase {
  explicit PackedCase(AxisOrder order) {
    add(job,
        {.operation = Operation::decode,
         .to = DType::BF16,
         .target_order = order,
         .experts = 3,
         .rows = 40,
         .columns = 64 * kBlockSize},
        1, false);
    const Recipe& recipe = job.recipes[0];
    shape = order == AxisOrder::in_out ? Shape{3, recipe.columns, recipe.rows}
                                       : Shape{3, recipe.rows, recipe.columns};
    memory.resize(job.expected[0].size());
  }

  std::uint64_t read(const Shape& begin, const Shape& extent) {
    const RegionRead region{.recipe = &job.recipes[0],
                            .shape = shape,
                            .begin = begin,
                            .extent = extent,
                            .data = memory.data(),
                            .strides = {extent[1] * extent[2], extent[2], 1},
                            .from = DType::U8,
                            .to = DType::BF16};
    const MemorySource source(job.input);
    return read_regions({region}, source, {.threads = 2});
  }

  Job job;
  Shape shape;
  Bytes memory;
};

TEST(RegionTest, ReadsOnlyTheExpertsOfTheBox) {
  for (const AxisOrder order : {AxisOrder::in_out, AxisOrder::out_in}) {
    PackedCase packed(order);
    const std::uint64_t expert = 40 * 64 * (kBlockBytes + 1);
    EXPECT_EQ(packed.read({1, 0, 0}, {1, packed.shape[1], packed.shape[2]}), expert);
    EXPECT_EQ(packed.read({0, 0, 0}, packed.shape), 3 * expert);
  }
}

TEST(RegionTest, ReadsOnlyTheRowsOfTheBox) {
  PackedCase packed(AxisOrder::in_out);
  EXPECT_EQ(packed.read({0, 0, 7}, {1, packed.shape[1], 5}), 5U * 64 * (kBlockBytes + 1));
}

// Rows of 1024 bytes lie less than a page apart.
TEST(RegionTest, ReadsThroughShortGaps) {
  PackedCase packed(AxisOrder::in_out);
  const std::uint64_t blocks = 39 * 64 * kBlockBytes + 2 * kBlockBytes;
  const std::uint64_t scales = 39 * 64 + 2;
  EXPECT_EQ(packed.read({0, 40, 0}, {1, 40, 40}), blocks + scales);
}

TEST(RegionTest, StopsOnRequest) {
  PackedCase packed(AxisOrder::in_out);
  std::stop_source stop;
  stop.request_stop();
  const RegionRead region{.recipe = &packed.job.recipes[0],
                          .shape = packed.shape,
                          .begin = {0, 0, 0},
                          .extent = packed.shape,
                          .data = packed.memory.data(),
                          .strides = {packed.shape[1] * packed.shape[2], packed.shape[2], 1},
                          .from = DType::U8,
                          .to = DType::BF16};
  const MemorySource source(packed.job.input);
  EXPECT_ERROR(ErrorCode::cancelled, read_regions({region}, source, {.stop = stop.get_token()}));
}

}  // namespace
}  // namespace mxferry::internal
