#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "flow/transcode.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/encode.h"
#include "mxfp4/encode_reference.h"
#include "mxfp4/reference.h"
#include "tests/flow/in_memory.h"

namespace mxferry::internal::testing {

inline std::size_t element_bytes(DType dtype) {
  return static_cast<std::size_t>(bits(dtype)) / 8;
}

inline void store(Bytes& bytes, std::size_t offset, DType dtype, double value) {
  const std::uint32_t pattern = mxfp4::reference::round_to(dtype, value);
  std::memcpy(bytes.data() + offset, &pattern, element_bytes(dtype));
}

// A number that `dtype` and F16 hold: F16 up to rounding below its normal range.
inline double any_value(DType dtype, std::uint64_t random) {
  struct Range {
    int mantissa_bits;
    int least_exponent;  // of the last place
    int most_exponent;
  };
  const Range range = dtype == DType::F16    ? Range{11, -24, 4}
                      : dtype == DType::BF16 ? Range{8, -35, 7}
                                             : Range{24, -50, -9};
  const auto mantissa = static_cast<double>(random % (std::uint64_t{1} << range.mantissa_bits));
  const int span = range.most_exponent - range.least_exponent + 1;
  const int exponent =
      range.least_exponent + static_cast<int>((random >> 33) % static_cast<unsigned>(span));
  return std::ldexp((random >> 63) != 0 ? -mantissa : mantissa, exponent);
}

// SplitMix64: a large tensor is a function of one drawn number.
inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

// Several recipes, and what they must make by the definition of the formats.
struct Job {
  std::vector<Recipe> recipes;
  Catalog source, target;
  std::vector<Bytes> input, expected;
  std::vector<Bytes> reference;  // scales, by index
  ConversionCounts losses;
  std::size_t shards = 1;

  std::size_t add_source(Bytes bytes) {
    source.push_back(
        {"source." + std::to_string(source.size()), DType::U8, {}, 0, 0, bytes.size()});
    input.push_back(std::move(bytes));
    return input.size() - 1;
  }
};

inline void count_loss(ConversionCounts& losses, DType to, double value) {
  if (to != DType::F16 || value == 0 || std::fabs(value) >= 0x1p-14) return;
  const double units = value / 0x1p-24;
  if (units == std::nearbyint(units)) return;
  ++losses.underflows;
  if ((mxfp4::reference::round_to(DType::F16, value) & 0x7FFF) == 0) ++losses.flushed;
}

// Calls visit(expert, row, column, index in [expert, row, column] order).
template <typename Visit>
void for_each_weight(const Recipe& recipe, const Visit& visit) {
  std::size_t index = 0;
  for (std::int64_t expert = 0; expert < recipe.experts; ++expert) {
    for (std::int64_t row = 0; row < recipe.rows; ++row) {
      for (std::int64_t column = 0; column < recipe.columns; ++column) {
        visit(expert, row, column, index++);
      }
    }
  }
}

inline std::size_t place(const Recipe& recipe, AxisOrder order, std::int64_t expert,
                         std::int64_t row, std::int64_t column) {
  const std::int64_t in_expert =
      order == AxisOrder::out_in ? row * recipe.columns + column : column * recipe.rows + row;
  return static_cast<std::size_t>(expert * recipe.rows * recipe.columns + in_expert);
}

inline void prepare_decode(Job& job, Recipe& recipe, std::uint64_t seed, int scale_count) {
  const std::size_t weights = target_bytes(recipe) / element_bytes(recipe.to);
  Bytes blocks(weights / 2);
  Bytes scales(weights / kBlockSize);
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(mix(seed + i));
  // Down to 2^-27 or so, which F16 flushes.
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const auto random = mix(~seed - i) % static_cast<std::uint64_t>(scale_count);
    scales[i] = static_cast<std::byte>(scale_count == 256 ? random : 100 + random);
  }
  for_each_weight(recipe, [&](std::int64_t e, std::int64_t r, std::int64_t c, std::size_t i) {
    const int code = mxfp4::reference::code_at(
        reinterpret_cast<const std::uint8_t*>(&blocks[i / kBlockSize * kBlockBytes]),
        static_cast<int>(i % kBlockSize));
    const double value =
        mxfp4::reference::exact_value(std::to_integer<std::uint8_t>(scales[i / kBlockSize]), code);
    store(job.expected[recipe.target],
          recipe.target_offset +
              place(recipe, recipe.target_order, e, r, c) * element_bytes(recipe.to),
          recipe.to, value);
    count_loss(job.losses, recipe.to, value);
  });
  recipe.source = job.add_source(std::move(blocks));
  recipe.source_scales = job.add_source(std::move(scales));
}

inline void prepare_dense(Job& job, Recipe& recipe, std::uint64_t seed) {
  const bool transposed = recipe.operation == Operation::transpose;
  const AxisOrder to_order = transposed ? recipe.target_order : AxisOrder::out_in;
  const AxisOrder from_order = transposed ? flipped(to_order) : to_order;
  recipe.source_offset = 4 * (seed % 5);
  Bytes stored(recipe.source_offset + source_bytes(recipe), std::byte{0xA5});
  for_each_weight(recipe, [&](std::int64_t e, std::int64_t r, std::int64_t c, std::size_t i) {
    const double value = any_value(recipe.from, mix(seed + i));
    store(stored,
          recipe.source_offset + place(recipe, from_order, e, r, c) * element_bytes(recipe.from),
          recipe.from, value);
    store(job.expected[recipe.target],
          recipe.target_offset + place(recipe, to_order, e, r, c) * element_bytes(recipe.to),
          recipe.to, value);
    count_loss(job.losses, recipe.to, value);
  });
  recipe.source = job.add_source(std::move(stored));
}

inline void prepare_copy(Job& job, Recipe& recipe, std::uint64_t seed) {
  recipe.source_offset = seed % 7;
  Bytes stored(recipe.source_offset + source_bytes(recipe));
  for (std::size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<std::byte>(mix(seed + i));
  std::copy(
      stored.begin() + static_cast<std::ptrdiff_t>(recipe.source_offset), stored.end(),
      job.expected[recipe.target].begin() + static_cast<std::ptrdiff_t>(recipe.target_offset));
  recipe.source = job.add_source(std::move(stored));
}

inline mxfp4::DenseTensorView dense_view(const Recipe& recipe, const std::byte* data) {
  return {.data = data,
          .dtype = recipe.from,
          .order = recipe.source_order == AxisOrder::in_out ? mxfp4::Order::transposed
                                                            : mxfp4::Order::rows,
          .experts = static_cast<std::size_t>(recipe.experts),
          .rows = static_cast<std::size_t>(recipe.rows),
          .columns = static_cast<std::size_t>(recipe.columns)};
}

// Blocks and scales are two targets of their own. Every other seed has a reference, under whose
// scales some blocks are exact.
inline void add_encode(Job& job, Recipe recipe, std::uint64_t seed) {
  const std::size_t blocks =
      static_cast<std::size_t>(recipe.experts * recipe.rows * recipe.columns / kBlockSize);
  recipe.source_offset = 4 * (seed % 5);
  Bytes stored(recipe.source_offset + source_bytes(recipe), std::byte{0xA5});
  Bytes scales(blocks);
  for (std::size_t i = 0; i < blocks; ++i)
    scales[i] = static_cast<std::byte>(112 + mix(seed + i) % 8);
  for_each_weight(recipe, [&](std::int64_t e, std::int64_t r, std::int64_t c, std::size_t i) {
    const std::uint64_t random = mix(seed + i);
    const auto scale = std::to_integer<std::uint8_t>(scales[i / kBlockSize]);
    const bool exact = mix(seed + i / kBlockSize) % 3 == 0;
    const double value = exact ? mxfp4::reference::exact_value(scale, static_cast<int>(random % 16))
                               : any_value(recipe.from, random);
    store(stored,
          recipe.source_offset +
              place(recipe, recipe.source_order, e, r, c) * element_bytes(recipe.from),
          recipe.from, value);
  });
  recipe.target = job.target.size();
  recipe.target_scales = recipe.target + 1;
  for (const std::size_t size : {blocks * kBlockBytes, blocks}) {
    job.target.push_back(
        {"target." + std::to_string(job.target.size()), DType::U8, {}, 0, 0, size});
    job.expected.emplace_back(size);
  }
  const auto* reference_scales = reinterpret_cast<const std::uint8_t*>(scales.data());
  const auto view = dense_view(recipe, stored.data() + recipe.source_offset);
  const std::size_t groups = view.columns / kBlockSize;
  const bool has_reference = seed % 2 == 0;
  for (std::size_t expert = 0; expert < view.experts; ++expert) {
    const std::size_t first = expert * view.rows * groups;
    const mxfp4::EncodeCounts counts = mxfp4::reference::encode(
        mxfp4::expert_of(view, expert),
        {.reference_scales = has_reference ? reference_scales + first : nullptr,
         .reference_row_bytes = groups},
        {.blocks = reinterpret_cast<std::uint8_t*>(job.expected[recipe.target].data()) +
                   first * kBlockBytes,
         .block_row_bytes = groups * kBlockBytes,
         .scales =
             reinterpret_cast<std::uint8_t*>(job.expected[recipe.target_scales].data()) + first,
         .scale_row_bytes = groups});
    job.losses += {.blocks = counts.blocks, .kept = counts.kept, .saturated = counts.saturated};
  }
  if (has_reference) {
    recipe.reference_scales = job.reference.size();
    job.reference.push_back(std::move(scales));
  }
  recipe.source = job.add_source(std::move(stored));
  job.recipes.push_back(recipe);
}

// Appends the recipe to a new target, or to the last one, as the parts of a fused tensor are.
inline void add(Job& job, Recipe recipe, std::uint64_t seed, bool fused, int scale_count = 41) {
  if (recipe.operation == Operation::encode) return add_encode(job, recipe, seed);
  const bool after_encode =
      !job.recipes.empty() && job.recipes.back().operation == Operation::encode;
  if (job.target.empty() || after_encode || !fused) {
    job.target.push_back({"target." + std::to_string(job.target.size()), DType::U8, {}, 0, 0, 0});
    job.expected.emplace_back();
  }
  recipe.target = job.target.size() - 1;
  Bytes& expected = job.expected.back();
  recipe.target_offset = (expected.size() + 3) / 4 * 4;
  expected.resize(recipe.target_offset + target_bytes(recipe));
  job.target.back().byte_count = expected.size();
  switch (recipe.operation) {
    case Operation::copy:
      prepare_copy(job, recipe, seed);
      break;
    case Operation::decode:
      prepare_decode(job, recipe, seed, scale_count);
      break;
    default:
      prepare_dense(job, recipe, seed);
  }
  job.recipes.push_back(recipe);
}

}  // namespace mxferry::internal::testing
