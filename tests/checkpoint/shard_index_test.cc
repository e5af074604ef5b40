#include "checkpoint/shard_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "checkpoint/json_stream.h"
#include "tests/base/expect_error.h"

namespace mxferry::internal::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

ShardIndex parse_index(std::string_view text) {
  return parse_shard_index(std::string(text), kIndexName);
}

std::string with_file(const std::string& file) {
  return R"({"weight_map":{"a":")" + file + R"("}})";
}

TEST(ParseIndex, GivesSizeAndEntries) {
  const ShardIndex index = parse_index(
      R"({"metadata": {"total_parameters": 3, "total_size": 12, "x": [{"total_size": "y"}]},
          "weight_map": {"b": "m-1.safetensors", "a": "m-0.safetensors"}, "unknown": [null, {}]})");
  EXPECT_EQ(index.total_size, 12u);
  EXPECT_THAT(index.weight_map,
              ElementsAre(Pair("a", "m-0.safetensors"), Pair("b", "m-1.safetensors")));
}

TEST(ParseIndex, NeedsNoMetadata) {
  for (const char* text : {R"({"weight_map":{}})", R"({"metadata":{},"weight_map":{}})",
                           R"({"metadata":null,"weight_map":{}})"}) {
    EXPECT_EQ(parse_index(text).total_size, std::nullopt) << text;
    EXPECT_THAT(parse_index(text).weight_map, IsEmpty());
  }
}

TEST(ParseIndex, LeavesOutAFractionalTotalSize) {
  EXPECT_EQ(parse_index(R"({"metadata":{"total_size":13476839424.0},"weight_map":{}})").total_size,
            std::nullopt);
}

TEST(ParseIndex, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "{}}", "x", "{\"weight_map\":{\"a\":\"\xFF\"}}"}) {
    EXPECT_ERROR(ErrorCode::invalid_index, parse_index(text)) << text;
  }
}

TEST(ParseIndex, RefusesWrongTypes) {
  for (const char* text :
       {"[]", "null", "1", R"({"weight_map":[]})", R"({"weight_map":null})",
        R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":null}})", R"({"weight_map":{"a":{}}})",
        R"({"weight_map":{"a":["m.safetensors"]}})", R"({"metadata":[],"weight_map":{}})",
        R"({"metadata":1,"weight_map":{}})", R"({"metadata":{"total_size":"1"},"weight_map":{}})",
        R"({"metadata":{"total_size":null},"weight_map":{}})",
        R"({"metadata":{"total_size":[1]},"weight_map":{}})"}) {
    EXPECT_ERROR(ErrorCode::invalid_index, parse_index(text)) << text;
  }
}

TEST(ParseIndex, RefusesAMissingWeightMap) {
  EXPECT_ERROR(ErrorCode::invalid_index, parse_index(R"({"metadata":{"total_size":1}})"));
}

TEST(ParseIndex, RefusesDuplicates) {
  for (const char* text :
       {R"({"weight_map":{},"weight_map":{}})", R"({"metadata":{},"metadata":{},"weight_map":{}})",
        R"({"metadata":{"total_size":1,"total_size":1},"weight_map":{}})",
        R"({"weight_map":{"a":"m","a":"m"}})", R"({"weight_map":{"a":"m","\u0061":"n"}})"}) {
    EXPECT_ERROR(ErrorCode::invalid_index, parse_index(text)) << text;
  }
}

TEST(ParseIndex, RefusesFilesOutsideTheFolder) {
  for (const char* file :
       {"", "/", "/etc/passwd", "..", "../m.safetensors", "a/../../m", "a/..", ".", "./m", "a//m",
        "a/", "a\\u0000b", "a\\nb", "a\\u001bb", "\\u202ea", "a\\u007f"}) {
    const auto error = error_of([&] { parse_index(with_file(file)); });
    ASSERT_TRUE(error) << file;
    EXPECT_EQ(error->code(), ErrorCode::invalid_index) << file;
    EXPECT_EQ(error->details().tensor, "a") << file;
  }
}

TEST(ParseIndex, AcceptsFilesBelowTheFolder) {
  for (const char* file :
       {"m.safetensors", "sub/m.safetensors", "..m", "m..", "...", "\xC3\xA9 b"}) {
    EXPECT_EQ(parse_index(with_file(file)).weight_map.at("a"), file);
  }
}

TEST(ParseIndex, LimitsTheDepth) {
  const auto nested = [](int levels) {
    return R"({"weight_map":{},"x":)" + std::string(levels - 1, '[') +
           std::string(levels - 1, ']') + "}";
  };
  EXPECT_THAT(parse_index(nested(kDeepestJson)).weight_map, IsEmpty());
  EXPECT_ERROR(ErrorCode::invalid_index, parse_index(nested(kDeepestJson + 1)));
}

TEST(ParseIndex, LimitsTheEntries) {
  std::string text = R"({"weight_map":{)";
  for (std::size_t i = 0; i <= kMostIndexEntries; ++i) {
    text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":"m")";
  }
  const auto error = error_of([&] { parse_index(text + "}}"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_index);
  EXPECT_THAT(error->what(), HasSubstr("too many entries"));
}

// The expected text was written by Python's json.dumps(indent=2, sort_keys=True).
TEST(SerializeIndex, WritesWhatTransformersWrites) {
  EXPECT_EQ(serialize_shard_index({.weight_map = {{"b\xC3\xA9\x7F", "m-2.safetensors"},
                                                  {"a.10", "m-1.safetensors"},
                                                  {"\xF0\x9F\x98\x80\"\n", "m-1.safetensors"}},
                                   .total_size = 1234}),
            R"({
  "metadata": {
    "total_size": 1234
  },
  "weight_map": {
    "a.10": "m-1.safetensors",
    "b\u00e9\u007f": "m-2.safetensors",
    "\ud83d\ude00\"\n": "m-1.safetensors"
  }
}
)");
}

TEST(SerializeIndex, ComesBackTheSame) {
  const ShardIndex index{.weight_map = {{"a\"\\\x01", "m"}, {"\xC3\xA9", "n/o"}},
                         .total_size = 18446744073709551615u};
  const ShardIndex back = parse_index(serialize_shard_index(index));
  EXPECT_EQ(back.weight_map, index.weight_map);
  EXPECT_EQ(back.total_size, index.total_size);
  EXPECT_EQ(parse_index(serialize_shard_index({})).total_size, std::nullopt);
}

TEST(SerializeIndex, RefusesNamesThatAreNotUtf8) {
  EXPECT_ERROR(ErrorCode::invalid_argument,
               serialize_shard_index({.weight_map = {{"\xFF", "m"}}, .total_size = {}}));
  EXPECT_ERROR(ErrorCode::invalid_argument,
               serialize_shard_index({.weight_map = {{"a", "\xFF"}}, .total_size = {}}));
}

}  // namespace
}  // namespace mxferry::internal::testing
