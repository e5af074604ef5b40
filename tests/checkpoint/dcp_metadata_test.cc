#include "checkpoint/dcp_metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "tests/base/expect_error.h"

namespace mxferry::internal::testing {
namespace {

using ::testing::HasSubstr;

// A header of "a" [2, 3] and "b" [] with this metadata.
SafetensorsHeader header(std::map<std::string, std::string> metadata) {
  return make_safetensors_header({{.name = "a", .dtype = DType::BF16, .shape = {2, 3}},
                                  {.name = "b", .dtype = DType::BF16, .shape = {}}},
                                 std::move(metadata))
      .header;
}

std::optional<ChunkOffsets> read(const std::string& info, const std::string& version = "1.0") {
  return read_chunk_offsets(header({{kShardingInfoKey, info}, {kDcpVersionKey, version}}),
                            "shard-00001");
}

constexpr const char* kGood = R"({"a": {"saved_offsets": [4, 0]}, "b": {"saved_offsets": []}})";

TEST(DcpMetadata, SaysWhereEachChunkBegins) {
  EXPECT_EQ(read(kGood), (ChunkOffsets{{"a", {4, 0}}, {"b", {}}}));
  EXPECT_EQ(read_chunk_offsets(header({{kShardingInfoKey, kGood}}), {}), read(kGood));
}

TEST(DcpMetadata, IsNotThereInOtherFiles) {
  EXPECT_EQ(read_chunk_offsets(header({}), {}), std::nullopt);
  EXPECT_EQ(read_chunk_offsets(header({{kDcpVersionKey, "1.0"}, {"format", "pt"}}), {}),
            std::nullopt);
}

TEST(DcpMetadata, MayHaveFieldsOfLaterReleases) {
  EXPECT_EQ(read(R"({"a": {"global_shape": [[8], {"x": -1.5}], "saved_offsets": [4, 0], "y": null},
                     "b": {"saved_offsets": [], "z": "text"}})"),
            read(kGood));
}

TEST(DcpMetadata, ComesBackAsItWasWritten) {
  const ChunkOffsets offsets = {{"a", {4, 0}}, {"b", {}}};
  const auto metadata = chunk_metadata(offsets);
  EXPECT_EQ(metadata.at("format"), "pt");
  EXPECT_EQ(metadata.at("DCP_VERSION"), "1.0");
  EXPECT_EQ(read_chunk_offsets(header(metadata), {}), offsets);
}

struct Bad {
  const char* info;
  const char* tensor;
  const char* text;
};

// In names of tests.
void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.text;
}

class BadDcpMetadata : public ::testing::TestWithParam<Bad> {};

TEST_P(BadDcpMetadata, IsRefused) {
  const auto error = error_of([&] { read(GetParam().info); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_sharding_info);
  EXPECT_EQ(error->details().file, "shard-00001");
  EXPECT_EQ(error->details().tensor, GetParam().tensor);
  EXPECT_THAT(error->what(), HasSubstr(GetParam().text));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadDcpMetadata,
    ::testing::Values(
        Bad{"", "", "not valid JSON"}, Bad{"{", "", "not valid JSON"}, Bad{"{}", "", "is empty"},
        Bad{"[]", "", "an object of tensors"}, Bad{"null", "", "an object of tensors"},
        Bad{R"({"a": [4, 0]})", "a", "expected an object, found an array"},
        Bad{R"({"a": "x"})", "a", "expected an object, found a string"},
        Bad{R"({"a": {}})", "a", "lacks a field"},
        Bad{R"({"a": {"saved_offsets": 4}})", "a", "an array as saved_offsets"},
        Bad{R"({"a": {"saved_offsets": {"0": 4}}})", "a", "an array as saved_offsets"},
        Bad{R"({"a": {"saved_offsets": [4, "0"]}})", "a", "a whole number as offset"},
        Bad{R"({"a": {"saved_offsets": [4, [0]]}})", "a", "a whole number as offset"},
        Bad{R"({"a": {"saved_offsets": [-4, 0]}})", "a", "a negative, fractional"},
        Bad{R"({"a": {"saved_offsets": [4.5, 0]}})", "a", "a negative, fractional"},
        Bad{R"({"a": {"saved_offsets": [99999999999999999999, 0]}})", "a", "too large number"},
        Bad{R"({"a": {"saved_offsets": [9223372036854775808, 0]}})", "a", "less than 2^63"},
        Bad{R"({"a": {"saved_offsets": [4, 0], "saved_offsets": [4, 0]}})", "a", "a field twice"},
        Bad{R"({"a": {"saved_offsets": [4, 0]}, "a": {"saved_offsets": [4, 0]}})", "a",
            "this tensor twice"},
        Bad{R"({"a": {"saved_offsets": [4, 0]}})", "b", "does not say which part"},
        Bad{R"({"a": {"saved_offsets": [4, 0]}, "b": {"saved_offsets": []},
                "c": {"saved_offsets": []}})",
            "c", "does not hold"},
        Bad{R"({"a": {"saved_offsets": [4]}, "b": {"saved_offsets": []}})", "a",
            "number of dimensions"},
        Bad{R"({"a": {"saved_offsets": [4, 0, 0]}, "b": {"saved_offsets": []}})", "a",
            "number of dimensions"},
        Bad{R"({"a": {"saved_offsets": [9223372036854775806, 0]}, "b": {"saved_offsets": []}})",
            "a", "beyond what a tensor can be"}));

TEST(DcpMetadata, OfAnotherVersionIsRefused) {
  for (const char* version : {"", "1", "2.0", "1.0.0", "one", "1.0 "}) {
    const auto error = error_of([&] { read(kGood, version); });
    ASSERT_TRUE(error) << version;
    EXPECT_EQ(error->code(), ErrorCode::invalid_sharding_info);
    EXPECT_THAT(error->what(), HasSubstr("DCP_VERSION"));
  }
}

TEST(DcpMetadata, IsLimited) {
  std::string deep = R"({"a": {"x": )";
  for (int i = 0; i < 200; ++i) deep += '[';
  EXPECT_ERROR(ErrorCode::invalid_sharding_info, read(deep));
  EXPECT_ERROR(ErrorCode::invalid_sharding_info,
               read(R"({")" + std::string(70'000, 'n') + R"(": {"saved_offsets": []}})"));
  EXPECT_ERROR(ErrorCode::invalid_sharding_info,
               read(R"({")" + std::string(5'000'000, 'n') + R"(": {"saved_offsets": []}})"));
  std::string many = R"({"a": {"saved_offsets": [0)";
  for (int i = 0; i < 40; ++i) many += ",0";
  EXPECT_ERROR(ErrorCode::invalid_sharding_info, read(many + "]}}"));
  std::string entries = "{";
  for (std::size_t i = 0; i <= kMostTensors; ++i) {
    entries += (i > 0 ? R"(,")" : R"(")") + std::to_string(i) + R"(":{"saved_offsets":[]})";
  }
  const auto error = error_of([&] { read(entries + "}"); });
  ASSERT_TRUE(error);
  EXPECT_THAT(error->what(), HasSubstr("too many entries"));
}

}  // namespace
}  // namespace mxferry::internal::testing
