// Headers made by chance: what is written comes back, and whatever is done to the bytes ends in an
// Error or in a header that keeps its promises.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/json_stream.h"
#include "checkpoint/shard_index.h"
#include "tests/base/expect_error.h"
#include "tests/checkpoint/headers.h"

namespace mxferry::internal::testing {
namespace {

// Chance that only the seed decides.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}

  // 0 to count - 1.
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(engine_() % count); }

  template <typename Container>
  const auto& one_of(const Container& container) {
    return container[below(std::size(container))];
  }

  std::string text() {
    static constexpr const char* kParts[] = {
        "a",  "B",    ".",    "0", "_", "\"",       "\\",
        "\n", "\x01", "\x7F", "/", " ", "\xC3\xA9", "\xF0\x9F\x98\x80",
        "\b", "\x1F"};
    std::string text;
    for (std::size_t i = below(12); i > 0; --i) text += one_of(kParts);
    return text;
  }

 private:
  std::mt19937_64 engine_;
};

std::vector<TensorInfo> random_tensors(Dice& dice) {
  std::map<std::string, TensorInfo> by_name;
  for (std::size_t i = dice.below(8); i > 0; --i) {
    TensorInfo tensor{
        .name = dice.text(), .dtype = static_cast<DType>(dice.below(22)), .shape = {}};
    for (std::size_t rank = dice.below(5); rank > 0; --rank) {
      tensor.shape.push_back(static_cast<std::int64_t>(dice.below(6)));
    }
    if (bits(tensor.dtype) % 8 != 0) tensor.shape.push_back(8);
    by_name[tensor.name] = tensor;
  }
  std::vector<TensorInfo> tensors;
  for (auto& [name, tensor] : by_name) tensors.push_back(std::move(tensor));
  return tensors;
}

std::map<std::string, std::string> random_texts(Dice& dice) {
  std::map<std::string, std::string> texts;
  for (std::size_t i = dice.below(4); i > 0; --i) texts[dice.text()] = dice.text();
  return texts;
}

// What SafetensorsHeader promises, worked out anew.
void assert_promises(const SafetensorsHeader& header) {
  std::uint64_t position = 0;
  std::set<std::string> names;
  for (const TensorInfo& tensor : header.tensors) {
    RC_ASSERT(tensor.begin == position);
    std::uint64_t bit_count = static_cast<std::uint64_t>(bits(tensor.dtype));
    for (const std::int64_t size : tensor.shape) {
      RC_ASSERT(size >= 0);
      bit_count *= static_cast<std::uint64_t>(size);
    }
    RC_ASSERT((tensor.end - tensor.begin) * 8 == bit_count);
    RC_ASSERT(names.insert(tensor.name).second);
    position = tensor.end;
  }
  RC_ASSERT(header.data_size == position);
}

RC_GTEST_PROP(AnyHeader, ComesBackTheSame, (std::uint64_t seed)) {
  Dice dice(seed);
  const NewHeader start = make_safetensors_header(random_tensors(dice), random_texts(dice));
  RC_ASSERT(start.bytes.size() % 8 == 0u);
  const SafetensorsHeader header = parse(start.bytes.substr(8));
  assert_promises(header);
  RC_ASSERT(header.metadata == start.header.metadata);
  RC_ASSERT(header.data_offset == start.header.data_offset);
  RC_ASSERT(header.data_size == start.header.data_size);
  RC_ASSERT(header.tensors.size() == start.header.tensors.size());
  for (const TensorInfo& tensor : start.header.tensors) {
    const auto found = std::ranges::find(header.tensors, tensor.name, &TensorInfo::name);
    RC_ASSERT(found != header.tensors.end());
    RC_ASSERT(found->dtype == tensor.dtype);
    RC_ASSERT(found->shape == tensor.shape);
    RC_ASSERT(found->begin == tensor.begin);
  }
}

RC_GTEST_PROP(AnyHeader, IsTheSameInWhateverOrderTheTensorsCome, (std::uint64_t seed)) {
  Dice dice(seed);
  std::vector<TensorInfo> tensors = random_tensors(dice);
  const std::string bytes = make_safetensors_header(tensors, {}).bytes;
  std::ranges::shuffle(tensors, std::mt19937_64(seed));
  RC_ASSERT(make_safetensors_header(tensors, {}).bytes == bytes);
}

void damage_bytes(std::string& text, Dice& dice) {
  const std::size_t place = dice.below(text.size() + 1);
  switch (dice.below(4)) {
    case 0:
      if (place < text.size()) text[place] = static_cast<char>(dice.below(256));
      break;
    case 1:
      text.insert(place, 1, static_cast<char>(dice.below(256)));
      break;
    case 2:
      text.erase(place, dice.below(4));
      break;
    default:
      text.insert(place, text.substr(dice.below(text.size() + 1), dice.below(30)));
  }
}

// Replaces one token by another, so that the text often stays JSON.
void damage_token(std::string& text, Dice& dice) {
  static constexpr std::array<const char*, 22> kTokens = {"0",
                                                          "1",
                                                          "8",
                                                          "-1",
                                                          "1.5",
                                                          "18446744073709551615",
                                                          "9223372036854775807",
                                                          "null",
                                                          "true",
                                                          "\"U8\"",
                                                          "\"F32\"",
                                                          "\"F4\"",
                                                          "\"\"",
                                                          "[]",
                                                          "{}",
                                                          "[0,1]",
                                                          "\"dtype\"",
                                                          "\"shape\"",
                                                          "\"data_offsets\"",
                                                          "\"__metadata__\"",
                                                          ",",
                                                          ":"};
  static constexpr std::string_view kEnds = ",:[]{}";
  const std::size_t begin = text.find_first_not_of(kEnds, dice.below(text.size() + 1));
  if (begin == std::string::npos) return;
  const std::size_t end = std::min(text.find_first_of(kEnds, begin), text.size());
  text.replace(begin, end - begin, dice.one_of(kTokens));
}

template <typename Damage>
void parse_damaged(std::uint64_t seed, Damage damage) {
  Dice dice(seed);
  const std::string text =
      make_safetensors_header(random_tensors(dice), random_texts(dice)).bytes.substr(8);
  for (int i = 0; i < 50; ++i) {
    std::string damaged = text;
    for (std::size_t times = 1 + dice.below(3); times > 0; --times) damage(damaged, dice);
    try {
      assert_promises(parse(damaged));
    } catch (const Error& error) {
      RC_ASSERT(category(error.code()) == ErrorCategory::source);
    }
  }
}

RC_GTEST_PROP(AnyHeader, WithDamagedBytesIsRefusedOrValid, (std::uint64_t seed)) {
  parse_damaged(seed, damage_bytes);
}

RC_GTEST_PROP(AnyHeader, WithDamagedTokensIsRefusedOrValid, (std::uint64_t seed)) {
  parse_damaged(seed, damage_token);
}

RC_GTEST_PROP(AnyIndex, WithDamageIsRefusedOrStaysInTheFolder, (std::uint64_t seed)) {
  Dice dice(seed);
  ShardIndex index{.weight_map = {}, .total_size = dice.below(100)};
  for (const auto& [tensor, part] : random_texts(dice)) index.weight_map[tensor] = "m/" + part;
  const std::string text = serialize_shard_index(index);
  for (int i = 0; i < 50; ++i) {
    std::string damaged = text;
    for (std::size_t times = dice.below(4); times > 0; --times) damage_bytes(damaged, dice);
    try {
      for (const auto& [tensor, file] : parse_shard_index(damaged, "").weight_map) {
        RC_ASSERT(!file.empty() && file.front() != '/');
        RC_ASSERT(("/" + file + "/").find("/../") == std::string::npos);
      }
    } catch (const Error& error) {
      RC_ASSERT(error.code() == ErrorCode::invalid_index);
    }
  }
}

}  // namespace
}  // namespace mxferry::internal::testing
