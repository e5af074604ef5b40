// The header of a new file: byte for byte what the reference implementation writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "tests/base/expect_error.h"
#include "tests/checkpoint/headers.h"

namespace mxferry::internal::testing {
namespace {

TensorInfo tensor(std::string name, DType dtype, Shape shape) {
  return {.name = std::move(name), .dtype = dtype, .shape = std::move(shape)};
}

std::string header_text(std::vector<TensorInfo> tensors,
                        std::map<std::string, std::string> metadata = {}) {
  return make_safetensors_header(std::move(tensors), std::move(metadata)).bytes.substr(8);
}

// The expected texts of these four were written by safetensors 0.8.0 for Python.

TEST(MakeHeader, IsTwoBracesForNoTensors) {
  const NewHeader start = make_safetensors_header({}, {});
  EXPECT_EQ(start.bytes, length_bytes(8) + "{}      ");
  EXPECT_EQ(start.header.data_offset, 16u);
  EXPECT_EQ(start.header.data_size, 0u);
}

TEST(MakeHeader, WritesLargerDtypesFirstThenNames) {
  EXPECT_EQ(header_text({tensor("b", DType::F32, {2}), tensor("a", DType::U8, {2, 3}),
                         tensor("Z", DType::I16, {}), tensor("e", DType::I16, {0, 3})}),
            R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
            R"("Z":{"dtype":"I16","shape":[],"data_offsets":[8,10]},)"
            R"("e":{"dtype":"I16","shape":[0,3],"data_offsets":[10,10]},)"
            R"("a":{"dtype":"U8","shape":[2,3],"data_offsets":[10,16]}})"
            "    ");
}

TEST(MakeHeader, WritesMetadataFirst) {
  EXPECT_EQ(
      header_text({tensor("a", DType::U8, {1})}, {{"format", "pt"}}),
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})"
      "    ");
}

TEST(MakeHeader, EscapesOnlyWhatJsonDemands) {
  EXPECT_EQ(header_text({tensor("a\x01\"\\\xC3\xA9/\x7F\xE2\x80\xA8", DType::U8, {1})},
                        {{"k", "\b\f\n\r\t\x1F/"}}),
            R"({"__metadata__":{"k":"\b\f\n\r\t\u001f/"},"a\u0001\"\\)"
            "\xC3\xA9/\x7F\xE2\x80\xA8"
            R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})"
            " ");
}

TEST(MakeHeader, SortsNamesByBytes) {
  const NewHeader start = make_safetensors_header(
      {tensor("\xEE\x80\x80", DType::U8, {1}), tensor("\xF0\x90\x80\x80", DType::U8, {1}),
       tensor("a", DType::U8, {1}), tensor("B", DType::U8, {1}), tensor("a.10", DType::U8, {1}),
       tensor("a.2", DType::U8, {1})},
      {});
  std::vector<std::string> names;
  for (const TensorInfo& info : start.header.tensors) names.push_back(info.name);
  EXPECT_THAT(names,
              ::testing::ElementsAre("B", "a", "a.10", "a.2", "\xEE\x80\x80", "\xF0\x90\x80\x80"));
}

TEST(MakeHeader, BeginsTheDataAtAMultipleOfEight) {
  for (std::size_t length = 1; length <= 16; ++length) {
    const NewHeader start =
        make_safetensors_header({tensor(std::string(length, 'a'), DType::U8, {1})}, {});
    EXPECT_EQ(start.bytes.size() % 8, 0u);
    EXPECT_EQ(start.bytes.size(), start.header.data_offset);
    EXPECT_TRUE(start.bytes.starts_with(length_bytes(start.bytes.size() - 8)));
  }
}

TEST(MakeHeader, IgnoresTheOffsetsItIsGiven) {
  const NewHeader start = make_safetensors_header(
      {{.name = "a", .dtype = DType::F4, .shape = {4}, .begin = 5, .end = 3}}, {});
  EXPECT_EQ(start.header.tensors[0].begin, 0u);
  EXPECT_EQ(start.header.tensors[0].end, 2u);
}

TEST(MakeHeader, RefusesTheReservedName) {
  EXPECT_ERROR(ErrorCode::invalid_argument, header_text({tensor("__metadata__", DType::U8, {1})}));
}

TEST(MakeHeader, RefusesANameTwice) {
  EXPECT_ERROR(ErrorCode::invalid_argument,
               header_text({tensor("a", DType::U8, {1}), tensor("b", DType::U8, {1}),
                            tensor("a", DType::F32, {1})}));
}

TEST(MakeHeader, RefusesTextsThatAreNotUtf8) {
  EXPECT_ERROR(ErrorCode::invalid_argument, header_text({tensor("\xFF", DType::U8, {1})}));
  EXPECT_ERROR(ErrorCode::invalid_argument, header_text({}, {{"\xC3", "a"}}));
  EXPECT_ERROR(ErrorCode::invalid_argument, header_text({}, {{"a", "\xED\xA0\x80"}}));
}

TEST(MakeHeader, RefusesASizeThatOverflows) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  EXPECT_ERROR(ErrorCode::size_overflow, header_text({tensor("a", DType::U8, {kLargest})}));
}

TEST(MakeHeader, RefusesASubByteTensorThatDoesNotFillItsLastByte) {
  EXPECT_ERROR(ErrorCode::misaligned_size, header_text({tensor("a", DType::F4, {3})}));
}

TEST(MakeHeader, RefusesAHeaderAboveTheLimit) {
  EXPECT_ERROR(ErrorCode::header_too_large,
               header_text({}, {{"a", std::string(kLargestHeader, 'a')}}));
}

}  // namespace
}  // namespace mxferry::internal::testing
