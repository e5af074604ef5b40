#include "sample/sample_source.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "mxferry/sample.h"

namespace mxferry::internal {
namespace {

std::vector<std::byte> read(const SampleSource& source, std::size_t tensor) {
  std::vector<std::byte> bytes(source.catalog()[tensor].byte_count);
  source.read(tensor, 0, bytes);
  return bytes;
}

RC_GTEST_PROP(SampleSource, GivesTheSameBytesHoweverTheyAreRead, ()) {
  const SampleSource source(sample_config(SamplePreset::tiny), 5, *rc::gen::arbitrary<bool>());
  const auto tensor = *rc::gen::inRange<std::size_t>(0, source.catalog().size());
  const std::vector<std::byte> whole = read(source, tensor);
  std::vector<std::byte> parts(whole.size());
  const auto step = *rc::gen::inRange<std::size_t>(1, 70);
  // Backwards, so that no part can depend on the one before it.
  for (std::size_t end = whole.size(); end > 0;) {
    const std::size_t begin = end - std::min(end, step);
    source.read(tensor, begin, std::span(parts).subspan(begin, end - begin));
    end = begin;
  }
  RC_ASSERT(parts == whole);
}

// FNV-1a over all names and bytes.
std::uint64_t hash(const SampleSource& source) {
  std::uint64_t h = 0xCBF29CE484222325U;
  const auto take = [&](std::uint8_t byte) { h = (h ^ byte) * 0x100000001B3U; };
  for (std::size_t i = 0; i < source.catalog().size(); ++i) {
    for (const char c : source.catalog()[i].name) take(static_cast<std::uint8_t>(c));
    for (const std::byte byte : read(source, i)) take(std::to_integer<std::uint8_t>(byte));
  }
  return h;
}

// The bytes of a sample are a promise: tests and bug reports name a seed.
TEST(SampleSource, IsTheSameOnEveryPlatformForEver) {
  const GptOssConfig config = sample_config(SamplePreset::tiny);
  EXPECT_EQ(hash(SampleSource(config, 0, false)), 14561342084478254749U);
  EXPECT_EQ(hash(SampleSource(config, 1, false)), 1783306933702341564U);
  EXPECT_EQ(hash(SampleSource(config, 0, true)), 5715935708115447170U);
}

TEST(SampleSource, HasFiniteScalesAndEveryCode) {
  for (const bool wild : {false, true}) {
    const SampleSource source(sample_config(SamplePreset::tiny), 3, wild);
    std::vector<int> scales(256);
    std::vector<int> codes(16);
    for (std::size_t i = 0; i < source.catalog().size(); ++i) {
      const std::string& name = source.catalog()[i].name;
      for (const std::byte b : read(source, i)) {
        const auto byte = std::to_integer<std::uint8_t>(b);
        if (name.ends_with("_scales")) ++scales[byte];
        if (!name.ends_with("_blocks")) continue;
        ++codes[byte & 15];
        ++codes[byte >> 4];
      }
    }
    EXPECT_EQ(scales[253] + scales[254] + scales[255], 0);
    EXPECT_GT(std::ranges::count_if(scales, [](int n) { return n > 0; }), wild ? 240 : 1);
    for (const int count : codes) EXPECT_GT(count, 0);
  }
}

}  // namespace
}  // namespace mxferry::internal
