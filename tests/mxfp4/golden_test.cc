// What public Python packages made of the same weights: golden/make_golden_vectors.py tells which.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mxferry/mxfp4.h"
#include "mxferry/quant_mode.h"
#include "mxfp4/decode.h"
#include "mxfp4/encode.h"
#include "tests/each_target.h"

namespace mxferry::internal::mxfp4 {
namespace {

using nlohmann::json;
using testing::Pair;
using testing::UnorderedElementsAre;

const json& vectors() {
  static const json parsed = [] {
    const std::filesystem::path path = MXFERRY_TESTS "/mxfp4/golden/vectors.json";
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot open " + path.string());
    return json::parse(file);
  }();
  return parsed;
}

std::vector<std::uint8_t> bytes_of(const json& hex) {
  const auto& digits = hex.get_ref<const std::string&>();
  if (digits.size() % 2 != 0) throw std::runtime_error("half a byte");
  std::vector<std::uint8_t> bytes(digits.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::size_t read = 0;
    bytes[i] = static_cast<std::uint8_t>(std::stoul(digits.substr(2 * i, 2), &read, 16));
    if (read != 2) throw std::runtime_error("not hexadecimal");
  }
  return bytes;
}

struct Entry {
  std::string producer;
  QuantMode mode = QuantMode::gptoss;
  DType dtype = DType::BF16;
  bool keeps_signs = true;            // of zeros
  std::vector<std::size_t> numbers;   // of the blocks, among all that the inputs have
  std::vector<std::uint8_t> weights;  // of these
  std::vector<std::uint8_t> scales;   // what the producer made of them
  std::vector<std::uint8_t> blocks;
};

Entry entry_of(const json& stored) {
  const auto dtype = stored.at("dtype").get<std::string>();
  Entry entry{.producer = stored.at("producer").get<std::string>() + " of " + dtype,
              .mode = parse_quant_mode(stored.at("mode").get<std::string>()).value(),
              .dtype = dtype == "BF16" ? DType::BF16 : DType::F32,
              .keeps_signs = stored.at("signs_of_zeros_kept").get<bool>(),
              .numbers = {},
              .weights = {},
              .scales = bytes_of(stored.at("scales")),
              .blocks = bytes_of(stored.at("blocks"))};
  const auto left_out = stored.at("left_out").get<std::set<std::size_t>>();
  const std::vector<std::uint8_t> all = bytes_of(vectors().at("weights").at(dtype));
  const std::size_t block_size = kBlockSize * static_cast<std::size_t>(bits(entry.dtype)) / 8;
  for (std::size_t i = 0; i < all.size() / block_size; ++i) {
    if (left_out.contains(i)) continue;
    entry.numbers.push_back(i);
    const auto block = std::span(all).subspan(i * block_size, block_size);
    entry.weights.insert(entry.weights.end(), block.begin(), block.end());
  }
  return entry;
}

std::vector<Entry> entries() {
  std::vector<Entry> all;
  for (const json& stored : vectors().at("quantized")) all.push_back(entry_of(stored));
  return all;
}

// With every -0 as +0.
std::uint8_t without_signs_of_zeros(std::uint8_t codes) {
  if ((codes & 0x0F) == 0x08) codes &= 0xF0;
  if ((codes & 0xF0) == 0x80) codes &= 0x0F;
  return codes;
}

std::vector<int> codes_of(std::span<const std::uint8_t> block, bool with_signs_of_zeros) {
  std::vector<int> codes;
  for (std::uint8_t pair : block) {
    if (!with_signs_of_zeros) pair = without_signs_of_zeros(pair);
    codes.push_back(pair & 15);
    codes.push_back(pair >> 4);
  }
  return codes;
}

TEST(Golden, HasEveryModeAndDtype) {
  std::set<std::pair<QuantMode, DType>> found;
  for (const Entry& entry : entries()) {
    found.emplace(entry.mode, entry.dtype);
    EXPECT_GE(entry.numbers.size(), 150U) << entry.producer;
    EXPECT_EQ(entry.scales.size(), entry.numbers.size()) << entry.producer;
    EXPECT_EQ(entry.blocks.size(), entry.numbers.size() * kBlockBytes) << entry.producer;
  }
  EXPECT_THAT(found, UnorderedElementsAre(
                         Pair(QuantMode::gptoss, DType::BF16), Pair(QuantMode::gptoss, DType::F32),
                         Pair(QuantMode::ocp, DType::BF16), Pair(QuantMode::ocp, DType::F32),
                         Pair(QuantMode::even, DType::BF16), Pair(QuantMode::even, DType::F32)));
}

class GoldenVectors : public EachTarget {};
MXFERRY_EACH_TARGET(GoldenVectors);

TEST_P(GoldenVectors, AreWhatEncodeMakes) {
  for (const Entry& entry : entries()) {
    const std::size_t count = entry.numbers.size();
    ASSERT_EQ(entry.scales.size(), count);
    ASSERT_EQ(entry.blocks.size(), count * kBlockBytes);
    const DenseView dense{.data = reinterpret_cast<const std::byte*>(entry.weights.data()),
                          .dtype = entry.dtype,
                          .stride = kBlockSize,
                          .rows = count,
                          .columns = kBlockSize};
    std::vector<std::uint8_t> blocks(count * kBlockBytes, 0xA5);
    std::vector<std::uint8_t> scales(count, 0xA5);
    encode(dense, {.mode = entry.mode}, {blocks.data(), kBlockBytes, scales.data(), 1});
    for (std::size_t i = 0; i < count; ++i) {
      const auto codes = [&](std::span<const std::uint8_t> all) {
        return codes_of(all.subspan(i * kBlockBytes, kBlockBytes), entry.keeps_signs);
      };
      EXPECT_EQ(scales[i], entry.scales[i]) << entry.producer << ", block " << entry.numbers[i];
      EXPECT_EQ(codes(blocks), codes(entry.blocks))
          << entry.producer << ", block " << entry.numbers[i];
    }
  }
}

TEST_P(GoldenVectors, AreWhatDecodeMakes) {
  const json& decoded = vectors().at("decoded");
  const auto shape = decoded.at("shape").get<std::vector<std::size_t>>();
  const std::vector<std::uint8_t> blocks = bytes_of(decoded.at("blocks"));
  const std::vector<std::uint8_t> scales = bytes_of(decoded.at("scales"));
  const std::vector<std::uint8_t> expected = bytes_of(decoded.at("bf16"));
  ASSERT_EQ(shape.size(), 4U);
  ASSERT_EQ(shape[3], std::size_t{kBlockBytes});
  const std::size_t experts = shape[0];
  const std::size_t rows = shape[1];
  const std::size_t groups = shape[2];
  ASSERT_GT(experts * rows * groups, 0U);
  ASSERT_EQ(scales.size(), experts * rows * groups);
  ASSERT_EQ(blocks.size(), scales.size() * kBlockBytes);
  ASSERT_EQ(expected.size(), scales.size() * kBlockSize * sizeof(std::uint16_t));
  const std::size_t expert_size = expected.size() / experts;
  for (const Stores stores : {Stores::cached, Stores::streaming}) {
    std::vector<std::uint8_t> dense(expected.size(), 0xA5);
    for (std::size_t expert = 0; expert < experts; ++expert) {
      const PackedView packed{.blocks = blocks.data() + expert * rows * groups * kBlockBytes,
                              .block_row_bytes = groups * kBlockBytes,
                              .scales = scales.data() + expert * rows * groups,
                              .scale_row_bytes = groups,
                              .rows = rows,
                              .groups = groups};
      decode_transposed(packed, DType::BF16,
                        reinterpret_cast<std::byte*>(dense.data() + expert * expert_size), rows,
                        stores);
    }
    EXPECT_EQ(dense, expected);
  }
}

}  // namespace
}  // namespace mxferry::internal::mxfp4
