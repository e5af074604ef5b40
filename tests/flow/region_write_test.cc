#include "flow/region_write.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "flow/run.h"
#include "mxferry/mxfp4.h"
#include "tests/flow/any_recipe.h"
#include "tests/flow/in_memory.h"
#include "tests/flow/job.h"

namespace mxferry::internal::testing {
namespace {

// One tensor in memory and the recipe that reads it whole.
struct Whole {
  Recipe recipe;
  Shape shape;
  DType dtype = DType::BF16;
  Catalog source, target;
  Bytes memory;
  Bytes reference;  // scales
};

StoredTensor tensor(const char* name, std::int64_t bytes) {
  return {name, DType::U8, {bytes}, 0, 0, static_cast<std::uint64_t>(bytes)};
}

Whole any_whole() {
  Whole whole;
  Recipe& recipe = whole.recipe;
  recipe.operation = *rc::gen::element(Operation::copy, Operation::cast, Operation::encode);
  recipe.from = whole.dtype = any_float();
  recipe.to = any_float();
  if (recipe.operation == Operation::encode) {
    recipe.experts = *rc::gen::inRange<std::int64_t>(1, 4);
    recipe.rows = *rc::gen::inRange<std::int64_t>(1, 90);
    recipe.columns = kBlockSize * *rc::gen::inRange<std::int64_t>(1, 5);
    recipe.source_order = AxisOrder::in_out;
    recipe.target_scales = 1;
    whole.shape = {recipe.experts, recipe.columns, recipe.rows};
  } else {
    whole.shape.resize(*rc::gen::inRange<std::size_t>(0, 5));
    for (std::int64_t& size : whole.shape) size = *rc::gen::inRange<std::int64_t>(1, 8);
    recipe.columns = element_count(whole.shape);
    if (recipe.operation == Operation::copy) {
      recipe.columns *= static_cast<std::int64_t>(element_bytes(whole.dtype));
    }
  }
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const auto count = static_cast<std::size_t>(element_count(whole.shape));
  whole.memory.resize(count * element_bytes(whole.dtype));
  for (std::size_t i = 0; i < count; ++i) {
    store(whole.memory, i * element_bytes(whole.dtype), whole.dtype,
          any_value(whole.dtype, mix(seed + i)));
  }
  whole.source = {tensor("source", static_cast<std::int64_t>(whole.memory.size()))};
  const auto bytes = static_cast<std::int64_t>(target_bytes(recipe));
  if (recipe.operation == Operation::encode) {
    const std::int64_t scales = recipe.experts * recipe.rows * (recipe.columns / kBlockSize);
    whole.target = {tensor("blocks", bytes - scales), tensor("scales", scales)};
    whole.reference.assign(static_cast<std::size_t>(scales), std::byte{120});
    if (*rc::gen::arbitrary<bool>()) recipe.reference_scales = 0;
  } else {
    whole.target = {tensor("target", bytes)};
  }
  return whole;
}

std::vector<Bytes> converted(const Whole& whole, const Source& reference) {
  const MemorySource source({whole.memory});
  MemorySink sink(whole.target, 1);
  run_flow({whole.recipe}, whole.source, whole.target, 1, source, sink,
           {.limits = {}, .reference = &reference, .stop = {}, .progress = {}});
  return sink.tensors();
}

struct Box {
  Shape begin, extent;
};

// Boxes that are the whole together.
std::vector<Box> cut(const Whole& whole) {
  std::vector<Box> boxes = {{}};
  for (std::size_t dim = 0; dim < whole.shape.size(); ++dim) {
    const std::int64_t size = whole.shape[dim];
    const bool stays = whole.recipe.operation == Operation::encode && dim == 1;
    const auto first = stays ? size : *rc::gen::inRange<std::int64_t>(1, size + 1);
    std::vector<Box> cut;
    for (const Box& box : boxes) {
      for (const std::int64_t begin : {std::int64_t{0}, first}) {
        if (begin == size) continue;
        cut.push_back(box);
        cut.back().begin.push_back(begin);
        cut.back().extent.push_back(begin == 0 ? first : size - first);
      }
    }
    boxes = std::move(cut);
  }
  return boxes;
}

// A copy of the box with random gaps between its lines.
RegionWrite gapped(const Whole& whole, const Box& box, Bytes& memory) {
  const std::size_t rank = whole.shape.size();
  std::vector<std::int64_t> strides(rank, 1);
  std::int64_t size = rank == 0 ? 1 : box.extent[rank - 1];
  for (std::size_t i = rank; i-- > 1;) {
    strides[i - 1] = size + *rc::gen::element<std::int64_t>(0, 0, 3);
    size = strides[i - 1] * box.extent[i - 1];
  }
  const std::size_t element = element_bytes(whole.dtype);
  memory.resize(static_cast<std::size_t>(size) * element);
  for (std::int64_t i = 0; i < element_count(box.extent); ++i) {
    std::int64_t left = i;
    std::int64_t from = 0;
    std::int64_t step = 1;
    std::int64_t to = 0;
    for (std::size_t dim = rank; dim-- > 0;) {
      const std::int64_t place = left % box.extent[dim];
      left /= box.extent[dim];
      from += (box.begin[dim] + place) * step;
      step *= whole.shape[dim];
      to += place * strides[dim];
    }
    std::copy_n(whole.memory.begin() + from * static_cast<std::int64_t>(element), element,
                memory.begin() + to * static_cast<std::int64_t>(element));
  }
  return {.recipe = &whole.recipe,
          .shape = whole.shape,
          .begin = box.begin,
          .extent = box.extent,
          .data = memory.data(),
          .strides = strides,
          .dtype = whole.dtype};
}

TEST(RegionWrite, BoxesMakeWhatTheWholeMakes) {
  const bool holds = rc::check("Boxes make what the whole makes", [] {
    const Whole whole = any_whole();
    const MemorySource reference({whole.reference});
    const std::vector<Box> boxes = cut(whole);
    std::vector<Bytes> memory(boxes.size());
    std::vector<RegionWrite> regions;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      regions.push_back(gapped(whole, boxes[i], memory[i]));
    }
    MemorySink sink(whole.target, 1);
    write_regions(regions, whole.source, sink,
                  {.threads = 1, .limits = any_limits(), .reference = &reference, .stop = {}});
    RC_ASSERT(sink.tensors() == converted(whole, reference));
    for (const auto& writes : sink.writes()) {
      RC_ASSERT(std::ranges::all_of(writes, [](std::uint8_t count) { return count == 1; }));
    }
  });
  EXPECT_TRUE(holds);
}

TEST(RegionWrite, StopsOnRequest) {
  Recipe recipe;
  recipe.columns = 4;
  const Catalog catalog = {tensor("x", 4)};
  const Bytes memory(4);
  MemorySink sink(catalog, 1);
  std::stop_source stop;
  stop.request_stop();
  const RegionWrite region{.recipe = &recipe,
                           .shape = {4},
                           .begin = {0},
                           .extent = {4},
                           .data = memory.data(),
                           .strides = {1},
                           .dtype = DType::U8};
  try {
    write_regions({region}, catalog, sink, {.stop = stop.get_token()});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
}

}  // namespace
}  // namespace mxferry::internal::testing
