// Every instruction set of this machine against the scalar codec.
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "dense/targets.h"
//
#include "fuzz/input.h"
#include "hwy/highway.h"
#include "hwy/targets.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"
#include "mxfp4/encode.h"
#include "mxfp4/encode_reference.h"
#include "mxfp4/quant_table.h"
#include "mxfp4/reference.h"

namespace mxferry::internal::fuzz {
namespace {

using mxfp4::Order;
using mxfp4::Stores;

constexpr std::array kDtypes = {DType::BF16, DType::F16, DType::F32};
constexpr std::array kOrders = {Order::rows, Order::transposed};
constexpr std::array kStores = {Stores::cached, Stores::streaming};

template <typename Run>
void on_every_target(const Run& run) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    run();
  }
  hwy::SetSupportedTargetsForTest(0);
}

std::size_t size_of(DType dtype) {
  return static_cast<std::size_t>(bits(dtype)) / 8;
}

// A matrix in memory that ends with the last byte that may be touched.
struct Matrix {
  DType dtype;
  Order order;
  std::size_t rows, columns;
  std::size_t stride = 0;
  std::size_t offset = 0;  // in bytes, of the first element
  std::vector<std::uint8_t> bytes;

  Matrix(Choices& choices, std::size_t most_rows, std::size_t most_groups)
      : dtype(choices.one_of(kDtypes)),
        order(choices.one_of(kOrders)),
        rows(choices.below(most_rows + 1)),
        columns(choices.below(most_groups + 1) * kBlockSize) {
    const bool is_transposed = order == Order::transposed;
    const std::size_t lines = is_transposed ? columns : rows;
    const std::size_t line = is_transposed ? rows : columns;
    const std::size_t gap = choices.below(40);
    stride = line + gap;
    offset = choices.below(40) * size_of(dtype);
    bytes.resize(offset + (lines == 0 ? 0 : lines * stride - gap) * size_of(dtype), 0xA5);
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(bytes.data() + offset); }
};

// Exponents of all ones become zeros: a weight is finite.
void make_finite(Matrix& matrix) {
  const std::size_t size = size_of(matrix.dtype);
  const std::uint32_t infinity = matrix.dtype == DType::F32   ? 0x7F800000
                                 : matrix.dtype == DType::F16 ? 0x7C00
                                                              : 0x7F80;
  for (std::size_t i = matrix.offset; i + size <= matrix.bytes.size(); i += size) {
    std::uint32_t pattern = 0;
    std::memcpy(&pattern, &matrix.bytes[i], size);
    if ((pattern & infinity) == infinity) pattern &= ~infinity;
    std::memcpy(&matrix.bytes[i], &pattern, size);
  }
}

struct Encoded {
  std::vector<std::uint8_t> blocks, scales;
  mxfp4::EncodeCounts counts;
};

bool is_same(const Encoded& a, const Encoded& b) {
  return a.blocks == b.blocks && a.scales == b.scales && a.counts.blocks == b.counts.blocks &&
         a.counts.kept == b.counts.kept && a.counts.saturated == b.counts.saturated &&
         a.counts.suspicious == b.counts.suspicious;
}

template <typename Encoder>
Encoded encode_with(const Encoder& encoder, const mxfp4::DenseView& dense,
                    const mxfp4::EncodeOptions& options) {
  const std::size_t groups = dense.columns / kBlockSize;
  Encoded out{std::vector<std::uint8_t>(dense.rows * groups * kBlockBytes),
              std::vector<std::uint8_t>(dense.rows * groups),
              {}};
  out.counts = encoder(
      dense, options,
      mxfp4::PackedTarget{out.blocks.data(), groups * kBlockBytes, out.scales.data(), groups});
  return out;
}

}  // namespace

void decode(Input input) {
  Choices choices(input);
  Matrix expected(choices, 70, 6);
  const Stores stores = choices.one_of(kStores);
  const std::size_t groups = expected.columns / kBlockSize;
  const std::size_t block_row = groups * kBlockBytes + choices.below(20);
  const std::size_t scale_row = groups + choices.below(20);
  std::vector<std::uint8_t> blocks(expected.rows * block_row);
  std::vector<std::uint8_t> scales(expected.rows * scale_row);
  choices.fill(scales);
  // Half of all inputs have scales as models have them.
  if (choices.flag()) {
    for (std::uint8_t& scale : scales) scale = static_cast<std::uint8_t>(112 + scale % 32);
  }
  choices.fill(blocks);
  const mxfp4::PackedView packed{blocks.data(), block_row,     scales.data(),
                                 scale_row,     expected.rows, groups};
  const std::vector<std::uint8_t> untouched = expected.bytes;
  const auto decode_by = [&](const auto& rows, const auto& transposed, Matrix& to) {
    if (to.order == Order::rows) {
      rows(packed, to.dtype, to.data(), to.stride);
    } else {
      transposed(packed, to.dtype, to.data(), to.stride);
    }
  };
  decode_by(mxfp4::reference::decode_rows, mxfp4::reference::decode_transposed, expected);
  Matrix actual = expected;
  on_every_target([&] {
    actual.bytes = untouched;
    decode_by([&](const auto&... a) { mxfp4::decode_rows(a..., stores); },
              [&](const auto&... a) { mxfp4::decode_transposed(a..., stores); }, actual);
    require(actual.bytes == expected.bytes, "every target decodes as the scalar codec does");
  });
}

void encode(Input input) {
  Choices choices(input);
  Matrix dense(choices, 70, 3);
  const std::size_t groups = dense.columns / kBlockSize;
  mxfp4::EncodeOptions options{.mode = choices.one_of(mxfp4::quant_rows()).mode,
                               .stores = choices.one_of(kStores),
                               .saturate_nonfinite = choices.flag()};
  const bool has_reference = choices.flag();
  const bool is_finite = !choices.flag();
  std::vector<std::uint8_t> reference_scales(dense.rows * groups);
  choices.fill(std::span(dense.bytes).subspan(std::min(dense.offset, dense.bytes.size())));
  choices.fill(reference_scales);
  if (has_reference) {
    options.reference_scales = reference_scales.data();
    options.reference_row_bytes = groups;
  }
  if (is_finite) make_finite(dense);
  const mxfp4::DenseView view{dense.data(), dense.dtype, dense.order,
                              dense.stride, dense.rows,  dense.columns};
  const Encoded expected = encode_with(mxfp4::reference::encode, view, options);
  on_every_target([&] {
    const Encoded actual = encode_with(mxfp4::encode, view, options);
    // What a block with infinite weights becomes is not promised.
    require(is_finite ? is_same(actual, expected)
                      : actual.counts.suspicious == expected.counts.suspicious,
            "every target encodes as the scalar codec does");
  });
}

}  // namespace mxferry::internal::fuzz
