#include "sample/sample_source.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "gpt_oss/layout_table.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

// Bytes generated at a time: a block, 16 scales or 8 BF16 weights.
constexpr std::size_t kUnit = 16;
using Unit = std::array<std::uint8_t, kUnit>;

// The output function of SplitMix64 (Steele, Lea, Flood, 2014): a good hash of a counter.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

// FNV-1a.
constexpr std::uint64_t hash(std::string_view text) noexcept {
  std::uint64_t h = 0xCBF29CE484222325U;
  for (const char c : text) h = (h ^ static_cast<std::uint8_t>(c)) * 0x100000001B3U;
  return h;
}

// The two scales, kSmallScale and the next, that most blocks of normal weights with standard
// deviation 0.02 have, and for each how many of 128 equally likely numbers map to each magnitude:
// the normal distribution split at the midpoints between E2M1 values, rounded.
constexpr std::uint8_t kSmallScale = 120;
using Counts = std::array<int, 8>;
constexpr Counts kSmallScaleCounts = {10, 20, 18, 17, 21, 20, 15, 7};
constexpr Counts kLargeScaleCounts = {20, 37, 29, 20, 15, 6, 1, 0};

// The E2M1 code for each of 256 equally likely bytes; the top bit of each is the sign.
constexpr std::array<std::uint8_t, 256> code_table(const Counts& counts) noexcept {
  std::array<std::uint8_t, 256> table{};
  std::size_t next = 0;
  for (std::size_t magnitude = 0; magnitude < counts.size(); ++magnitude) {
    for (int i = 0; i < counts[magnitude]; ++i, ++next) {
      table[next] = static_cast<std::uint8_t>(magnitude);
      table[next + 128] = static_cast<std::uint8_t>(magnitude | 8);
    }
  }
  return table;
}
constexpr auto kSmallScaleCodes = code_table(kSmallScaleCounts);
constexpr auto kLargeScaleCodes = code_table(kLargeScaleCounts);

std::uint8_t scale_at(std::uint64_t key, std::uint64_t index, bool wild) noexcept {
  const std::uint64_t random = mix(key + index);
  constexpr std::uint64_t kFiniteScales = 253;
  if (wild) return static_cast<std::uint8_t>(random % kFiniteScales);
  return static_cast<std::uint8_t>(kSmallScale + (random & 1));
}

Unit block_at(std::uint64_t key, std::uint64_t index, std::uint8_t scale, bool wild) noexcept {
  Unit block;
  const auto& codes = scale == kSmallScale ? kSmallScaleCodes : kLargeScaleCodes;
  for (std::size_t word = 0; word < 4; ++word) {
    std::uint64_t random = mix(key + index * 4 + word);
    for (std::size_t i = 0; i < 4; ++i, random >>= 16) {
      const auto two = static_cast<std::uint16_t>(random);
      block[word * 4 + i] =
          wild ? static_cast<std::uint8_t>(two)
               : static_cast<std::uint8_t>(codes[two & 255] | codes[two >> 8] << 4);
    }
  }
  return block;
}

// Rounds a float of normal magnitude to the nearest BF16, ties to even.
std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1)) >> 16);
}

// Eight BF16 weights around 0, or around 1 for a norm. Each is a sum of four 16-bit numbers, which
// is nearly normal, scaled. The product is rounded to BF16 before 1 is added, so the result is the
// same whether or not the compiler fuses multiplications and additions.
Unit weights_at(std::uint64_t key, std::uint64_t index, bool norm) noexcept {
  constexpr float kDeviation = 0.02F / 37837.0F;  // 37837: the sums' own, sqrt(4 / 12) * 65536
  Unit unit;
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint64_t random = mix(key + index * 8 + i);
    const int sum = static_cast<int>(random & 0xFFFF) + static_cast<int>(random >> 16 & 0xFFFF) +
                    static_cast<int>(random >> 32 & 0xFFFF) + static_cast<int>(random >> 48) -
                    2 * 0xFFFF;
    const std::uint16_t deviation = to_bf16(static_cast<float>(sum) * kDeviation);
    const float exact = std::bit_cast<float>(static_cast<std::uint32_t>(deviation) << 16);
    const std::uint16_t weight = norm ? to_bf16(1.0F + exact) : deviation;
    unit[2 * i] = static_cast<std::uint8_t>(weight & 0xFF);
    unit[2 * i + 1] = static_cast<std::uint8_t>(weight >> 8);
  }
  return unit;
}

bool is_norm(ParameterKind kind) noexcept {
  return kind == ParameterKind::attention_norm || kind == ParameterKind::mlp_norm ||
         kind == ParameterKind::final_norm;
}

}  // namespace

SampleSource::SampleSource(const GptOssConfig& config, std::uint64_t seed, bool wild)
    : seed_(seed), wild_(wild) {
  for (int kind = 0; kind < kParameterKinds; ++kind) {
    const auto parameter = static_cast<ParameterKind>(kind);
    const std::int64_t count = is_per_layer(parameter) ? config.num_hidden_layers : 1;
    for (std::int64_t layer = 0; layer < count; ++layer)
      add_layer_tensors(parameter, layer, config);
  }
}

void SampleSource::add_layer_tensors(ParameterKind kind, std::int64_t layer,
                                     const GptOssConfig& config) {
  const std::optional<std::int64_t> number =
      is_per_layer(kind) ? std::optional(layer) : std::nullopt;
  const Parameter parameter{kind, number, published_prefix(kind, number)};
  const auto named = [&](Piece piece) {
    return *tensor_name(Layout::hf, "flex", parameter, piece);
  };
  Shape shape = logical_shape(kind, config).value();
  if (!is_expert_weight(kind)) {
    return add(named(Piece::dense), DType::BF16, std::move(shape),
               is_norm(kind) ? Content::norm : Content::weights, "");
  }
  shape[2] /= kBlockSize;
  add(named(Piece::scales), DType::U8, shape, Content::scales, named(Piece::scales));
  shape.push_back(kBlockBytes);
  add(named(Piece::blocks), DType::U8, shape, Content::blocks, named(Piece::scales));
}

void SampleSource::add(const std::string& name, DType dtype, Shape shape, Content content,
                       const std::string& scales_name) {
  const auto element_bytes = static_cast<std::uint64_t>(bits(dtype) / 8);
  const std::uint64_t bytes = static_cast<std::uint64_t>(element_count(shape)) * element_bytes;
  generators_.push_back(
      {content, mix(seed_ ^ mix(hash(name))), mix(seed_ ^ mix(hash(scales_name)))});
  catalog_.push_back({name, dtype, std::move(shape), 0, 0, bytes});
}

void SampleSource::read(std::size_t tensor, std::uint64_t offset,
                        std::span<std::byte> buffer) const {
  const Generator& generator = generators_[tensor];
  const auto unit_at = [&](std::uint64_t index) -> Unit {
    switch (generator.content) {
      case Content::blocks:
        return block_at(generator.key, index, scale_at(generator.scale_key, index, wild_), wild_);
      case Content::scales: {
        Unit scales;
        for (std::size_t i = 0; i < kUnit; ++i)
          scales[i] = scale_at(generator.scale_key, index * kUnit + i, wild_);
        return scales;
      }
      default:
        return weights_at(generator.key, index, generator.content == Content::norm);
    }
  };
  for (std::size_t done = 0; done < buffer.size();) {
    const Unit unit = unit_at((offset + done) / kUnit);
    const std::size_t skip = (offset + done) % kUnit;
    const std::size_t count = std::min(kUnit - skip, buffer.size() - done);
    std::memcpy(buffer.data() + done, unit.data() + skip, count);
    done += count;
  }
}

}  // namespace mxferry::internal
