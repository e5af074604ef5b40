#include "adapter/packed_pair.h"

#include <array>
#include <cstdint>
#include <unordered_set>
#include <utility>

#include "adapter/key_mapping.h"
#include "base/parallel.h"
#include "mxferry/dequantize.h"
#include "mxferry/error.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "mxfp4/decode.h"
#include "mxfp4/reference.h"

namespace mxferry::internal {

namespace {

void check_bytes(std::string_view name, const Tensor& tensor) {
  if (tensor.dtype() == DType::U8) return;
  throw Error(ErrorCode::wrong_dtype, {.problem = "packed weights are stored as bytes",
                                       .tensor = std::string(name),
                                       .expected = "U8",
                                       .found = std::string(mxferry::name(tensor.dtype()))});
}

// Returns the shape of the dense tensor, [experts, in, out].
Shape check_pair(std::string_view blocks_name, const Tensor& blocks, std::string_view scales_name,
                 const Tensor& scales, DType dtype) {
  check_bytes(blocks_name, blocks);
  check_bytes(scales_name, scales);
  const Shape& shape = blocks.shape();
  if (shape.size() != 4) {
    throw Error(ErrorCode::wrong_shape, {.problem = "blocks have four dimensions",
                                         .tensor = std::string(blocks_name),
                                         .expected = "[experts, out, groups, 16]",
                                         .found = to_string(shape)});
  }
  const Shape expected(shape.begin(), shape.end() - 1);
  if (scales.shape() != expected) {
    throw Error(ErrorCode::wrong_shape,
                {.problem = "one scale belongs to each block of '" + std::string(blocks_name) + "'",
                 .tensor = std::string(scales_name),
                 .expected = to_string(expected),
                 .found = to_string(scales.shape())});
  }
  const std::int64_t inputs = element_count({shape[2], shape[3], 2});
  // Allocates nothing, but throws if the size of the result overflows.
  (void)element_count({shape[0], inputs, shape[1], bits(dtype)});
  return {shape[0], inputs, shape[1]};
}

// The weight for every pair (scale, code), as the bits of `dtype`.
template <typename T>
std::array<std::array<T, 16>, 256> all_values(DType dtype) {
  std::array<std::array<T, 16>, 256> values{};
  for (int scale = 0; scale < 256; ++scale) {
    for (int code = 0; code < 16; ++code) {
      const double exact = mxfp4::reference::exact_value(static_cast<std::uint8_t>(scale), code);
      values[scale][code] = static_cast<T>(mxfp4::reference::round_to(dtype, exact));
    }
  }
  return values;
}

// Decodes blocks of any number of bytes. T holds the bits of one element of `out`.
template <typename T>
void decode_any_block(const Tensor& blocks, const Tensor& scales, AxisOrder order, Tensor& out) {
  const auto values = all_values<T>(out.dtype());
  const std::int64_t rows = blocks.shape()[1];
  const std::int64_t groups = blocks.shape()[2];
  const std::int64_t block_bytes = blocks.shape()[3];
  const std::int64_t inputs = groups * block_bytes * 2;
  const std::int64_t row_step = order == AxisOrder::in_out ? 1 : inputs;
  const std::int64_t input_step = order == AxisOrder::in_out ? rows : 1;
  parallel_for(available_threads(), blocks.shape()[0] * groups, [&](std::int64_t i) {
    const std::int64_t expert = i / groups;
    const std::int64_t group = i % groups;
    T* const first = out.as<T>() + expert * rows * inputs + group * block_bytes * 2 * input_step;
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t block = (expert * rows + row) * groups + group;
      const auto& codes = values[scales.as<std::uint8_t>()[block]];
      const std::uint8_t* const bytes = blocks.as<std::uint8_t>() + block * block_bytes;
      for (std::int64_t j = 0; j < block_bytes; ++j) {
        first[row * row_step + 2 * j * input_step] = codes[bytes[j] & 15];
        first[row * row_step + (2 * j + 1) * input_step] = codes[bytes[j] >> 4];
      }
    }
  });
}

void decode_pair(const Tensor& blocks, const Tensor& scales, AxisOrder order, Tensor& out) {
  if (blocks.shape()[3] != kBlockBytes) {
    if (out.dtype() == DType::F32) {
      return decode_any_block<std::uint32_t>(blocks, scales, order, out);
    }
    return decode_any_block<std::uint16_t>(blocks, scales, order, out);
  }
  mxfp4::decode_tensor({.blocks = blocks.as<std::uint8_t>(),
                        .scales = scales.as<std::uint8_t>(),
                        .experts = static_cast<std::size_t>(blocks.shape()[0]),
                        .rows = static_cast<std::size_t>(blocks.shape()[1]),
                        .groups = static_cast<std::size_t>(blocks.shape()[2])},
                       out.dtype(),
                       order == AxisOrder::in_out ? mxfp4::Order::transposed : mxfp4::Order::rows,
                       out.data(), available_threads());
}

void check_dense_dtype(DType dtype) {
  if (is_dense_float(dtype)) return;
  throw Error(ErrorCode::invalid_argument, {.problem = "weights are not decoded to this dtype",
                                            .expected = "BF16, F16 or F32",
                                            .found = std::string(name(dtype))});
}

// The shape of a pair's weights in this order.
Shape dense_shape(const Tensor& blocks, const Tensor& scales, DType dtype, AxisOrder order) {
  check_dense_dtype(dtype);
  Shape shape = check_pair("blocks", blocks, "scales", scales, dtype);
  if (order == AxisOrder::out_in) std::swap(shape[1], shape[2]);
  return shape;
}

// The NAME of NAME_blocks or NAME_scales; `ending` is empty for any other name.
struct PackedName {
  std::string_view base;
  std::string_view ending;
};

PackedName packed_name(std::string_view name) {
  for (const std::string_view ending : {kBlocksEnding, kScalesEnding}) {
    if (name.ends_with(ending)) return {name.substr(0, name.size() - ending.size()), ending};
  }
  return {name, {}};
}

void check_partner(const StateDict& state_dict, std::string_view name, const PackedName& packed) {
  std::string partner(packed.base);
  partner += packed.ending == kBlocksEnding ? kScalesEnding : kBlocksEnding;
  if (state_dict.contains(partner)) return;
  throw Error(ErrorCode::missing_partner,
              {.problem = "packed weights are two tensors, and the other is missing",
               .tensor = std::string(name),
               .expected = "'" + partner + "' beside it",
               .found = "no such tensor",
               .advice = "Is it in a shard that was not loaded?"});
}

}  // namespace

std::vector<PackedPair> find_packed_pairs(const StateDict& state_dict, DType dtype) {
  std::vector<PackedPair> pairs;
  std::unordered_set<std::string_view> known;
  for (const auto& [name, tensor] : state_dict) {
    const PackedName packed = packed_name(name);
    if (packed.ending.empty()) continue;
    check_partner(state_dict, name, packed);
    if (!known.insert(packed.base).second) continue;
    const std::string base(packed.base);
    const std::string blocks = base + std::string(kBlocksEnding);
    const std::string scales = base + std::string(kScalesEnding);
    const Shape shape =
        check_pair(blocks, state_dict.at(blocks), scales, state_dict.at(scales), dtype);
    if (state_dict.contains(base)) fail_collision(base, base, blocks);
    pairs.push_back({base, local_part(shape, {}, {})});
  }
  return pairs;
}

std::vector<std::string> names_when_decoded(const StateDict& state_dict,
                                            const std::vector<PackedPair>& pairs) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state_dict) {
    if (packed_name(name).ending.empty()) names.push_back(name);
  }
  for (const PackedPair& pair : pairs) names.push_back(pair.name);
  return names;
}

}  // namespace mxferry::internal

namespace mxferry {

using namespace internal;

Tensor dequantize(const Tensor& blocks, const Tensor& scales, DType dtype, AxisOrder order) {
  Tensor dense = Tensor::empty(dtype, dense_shape(blocks, scales, dtype, order));
  if (dense.element_count() > 0) decode_pair(blocks, scales, order, dense);
  return dense;
}

void dequantize_into(const Tensor& blocks, const Tensor& scales, AxisOrder order, Tensor& out) {
  const Shape expected = dense_shape(blocks, scales, out.dtype(), order);
  if (out.shape() != expected) {
    throw Error(ErrorCode::wrong_shape, {.problem = "the weights do not fit the tensor for them",
                                         .tensor = "out",
                                         .expected = to_string(expected),
                                         .found = to_string(out.shape())});
  }
  if (out.element_count() > 0) decode_pair(blocks, scales, order, out);
}

Tensor GPTOSSStateDictAdapter::convert_moe_packed_tensors(const Tensor& blocks,
                                                          const Tensor& scales, DType dtype,
                                                          std::int64_t rows_per_chunk) {
  check_dense_dtype(dtype);
  if (rows_per_chunk < 1) {
    throw Error(ErrorCode::invalid_argument, {.problem = "rows_per_chunk counts rows",
                                              .expected = "at least 1",
                                              .found = std::to_string(rows_per_chunk)});
  }
  return dequantize(blocks, scales, dtype, AxisOrder::in_out);
}

}  // namespace mxferry
