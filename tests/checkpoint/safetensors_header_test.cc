// One test for every rule of a safetensors header, by the names of the reference implementation's
// own tests where it has one.
#include "checkpoint/safetensors_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "checkpoint/json_stream.h"
#include "tests/base/expect_error.h"
#include "tests/checkpoint/headers.h"

namespace mxferry::internal::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// A tensor of 6 bytes, and `more` after it in the header.
std::string with_tensor(std::string_view more) {
  return R"({"a":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]})" + std::string(more) + "}";
}

TEST(ParseHeader, GivesEveryPartOfATensor) {
  const SafetensorsHeader header = parse(with_tensor(""));
  ASSERT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].dtype, DType::U8);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[0].begin, 0u);
  EXPECT_EQ(header.tensors[0].end, 6u);
  EXPECT_EQ(header.data_offset, 8 + with_tensor("").size());
  EXPECT_EQ(header.data_size, 6u);
  EXPECT_THAT(header.metadata, IsEmpty());
}

TEST(ParseHeader, OrdersTensorsByOffset) {
  const SafetensorsHeader header = parse(R"({
    "late":  {"dtype":"F32","shape":[2],"data_offsets":[4,12]},
    "empty": {"dtype":"F32","shape":[0],"data_offsets":[4,4]},
    "early": {"dtype":"U8","shape":[4],"data_offsets":[0,4]}})");
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "early");
  EXPECT_EQ(header.tensors[1].name, "empty");
  EXPECT_EQ(header.tensors[2].name, "late");
}

TEST(ParseHeader, KnowsEveryDtypeOfTheFormat) {
  constexpr const char* kNames[] = {
      "BOOL",    "F4",          "F6_E2M3",     "F6_E3M2", "U8",  "I8",  "F8_E5M2", "F8_E4M3",
      "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16",     "U16", "F16", "BF16",    "I32",
      "U32",     "F32",         "C64",         "F64",     "I64", "U64"};
  constexpr int kBits[] = {8,  4,  6,  6,  8,  8,  8,  8,  8,  8,  8,
                           16, 16, 16, 16, 32, 32, 32, 64, 64, 64, 64};
  for (int i = 0; i < 22; ++i) {
    const std::string text = R"({"a":{"dtype":")" + std::string(kNames[i]) +
                             R"(","shape":[8],"data_offsets":[0,)" + std::to_string(kBits[i]) +
                             "]}}";
    EXPECT_EQ(parse(text).tensors.at(0).dtype, static_cast<DType>(i)) << kNames[i];
  }
}

// What the reference accepts beyond the ordinary.

TEST(ParseHeader, AcceptsAnEmptyHeader) {
  EXPECT_THAT(parse("{}").tensors, IsEmpty());
  EXPECT_EQ(parse("{}").data_size, 0u);
}

TEST(ParseHeader, AcceptsWhiteSpaceAround) {
  EXPECT_EQ(parse("  \n\t\r" + with_tensor("") + " \n\t\r ").tensors.size(), 1u);
}

TEST(ParseHeader, AcceptsWhiteSpaceWithin) {
  EXPECT_EQ(parse("{ \n\"a\" :\t[\"U8\" ,[ 1 ]\r, [0 , 1 ]\n] }").data_size, 1u);
}

TEST(ParseHeader, AcceptsRankZero) {
  const SafetensorsHeader header =
      parse(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})");
  EXPECT_THAT(header.tensors.at(0).shape, IsEmpty());
}

TEST(ParseHeader, AcceptsZeroSize) {
  EXPECT_EQ(parse(R"({"a":{"dtype":"F32","shape":[2,0,3],"data_offsets":[0,0]}})").data_size, 0u);
}

TEST(ParseHeader, AcceptsMetadata) {
  const SafetensorsHeader header = parse(with_tensor(R"(,"__metadata__":{"format":"pt","a":""})"));
  EXPECT_THAT(header.metadata, ElementsAre(Pair("a", ""), Pair("format", "pt")));
}

TEST(ParseHeader, AcceptsNullAsNoMetadata) {
  EXPECT_THAT(parse(with_tensor(R"(,"__metadata__":null)")).metadata, IsEmpty());
}

TEST(ParseHeader, IgnoresUnknownFieldsOfAnEntry) {
  const SafetensorsHeader header =
      parse(R"({"a":{"x":[1,{"dtype":"F32","shape":3}],"dtype":"U8","y":-1.5,"shape":[6],"z":null,)"
            R"("data_offsets":[0,6],"x":"again","__metadata__":true}})");
  EXPECT_EQ(header.tensors.at(0).dtype, DType::U8);
  EXPECT_THAT(header.tensors.at(0).shape, ElementsAre(6));
}

TEST(ParseHeader, AcceptsAnEntryAsArray) {
  const SafetensorsHeader header = parse(R"({"a":["BF16",[2,3],[0,12]],"b":["U8",[],[12,13]]})");
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[1].end, 13u);
}

TEST(ParseHeader, AcceptsEscapedAndForeignNames) {
  EXPECT_EQ(parse(R"({"\u00e9\n\ud83d\ude00":["U8",[],[0,1]]})").tensors.at(0).name,
            "\xC3\xA9\n\xF0\x9F\x98\x80");
  EXPECT_EQ(parse("{\"\xC3\xA9\":[\"U8\",[],[0,1]]}").tensors.at(0).name, "\xC3\xA9");
  EXPECT_EQ(parse(R"({"":["U8",[],[0,1]]})").tensors.at(0).name, "");
}

// What it refuses.

TEST(ParseHeader, RefusesWhatIsNotUtf8) {
  EXPECT_ERROR(ErrorCode::invalid_header_utf8, parse("{\"\xFF\":[\"U8\",[],[0,1]]}"));
  EXPECT_ERROR(ErrorCode::invalid_header_utf8, parse("\xFF"));
}

TEST(ParseHeader, RefusesWhatIsNotJson) {
  for (const char* text : {"", " ", "{", "}", "{]", "x", "{\"a\"}", "{\"a\":}", "{}{}", "{},",
                           "{\"a\":{},}", "{'a':1}", "{\"a", "{\"a\\", "{/* */}", "nul",
                           "{\"\\q\":null}", "{\"\\ud800\":null}", "{\"\t\":null}"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(text)) << text;
  }
}

TEST(ParseHeader, RefusesAByteOrderMark) {
  EXPECT_ERROR(ErrorCode::invalid_header_json, parse("\xEF\xBB\xBF{}"));
}

TEST(ParseHeader, RefusesANulAndWhatFollowsIt) {
  EXPECT_ERROR(ErrorCode::invalid_header_json, parse(std::string("{}\0", 3)));
  EXPECT_ERROR(ErrorCode::invalid_header_json, parse(std::string("{}\0garbage", 10)));
  EXPECT_ERROR(ErrorCode::invalid_header_json, parse(std::string("{\"a\0\":null}", 11)));
  EXPECT_ERROR(ErrorCode::invalid_header_json, parse(std::string("{\"a\\\0\":null}", 12)));
}

TEST(ParseHeader, RefusesATopThatIsNoObject) {
  for (const char* text : {"null", "[]", "1", "-1", "\"a\"", "true", "1.5"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(text)) << text;
  }
}

TEST(ParseHeader, RefusesAnEntryOfAnotherType) {
  for (const char* entry : {"null", "1", "\"U8\"", "true", "-1", "[]", "{}"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(R"({"a":)" + std::string(entry) + "}"))
        << entry;
  }
}

TEST(ParseHeader, RefusesAMissingField) {
  for (const char* entry :
       {R"({"shape":[],"data_offsets":[0,1]})", R"({"dtype":"U8","data_offsets":[0,1]})",
        R"({"dtype":"U8","shape":[]})", R"(["U8",[]])"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(R"({"a":)" + std::string(entry) + "}"))
        << entry;
  }
}

TEST(ParseHeader, RefusesAFieldOfAnotherType) {
  for (const char* entry :
       {R"(["U8",[],[0,1],0])", R"([1,[],[0,1]])", R"([["U8"],[],[0,1]])", R"([null,[],[0,1]])",
        R"(["U8",1,[0,1]])", R"(["U8",{},[0,1]])", R"(["U8",null,[0,1]])", R"(["U8",[],1])",
        R"(["U8",[],{}])", R"(["U8",[[1]],[0,1]])", R"(["U8",["1"],[0,1]])",
        R"(["U8",[null],[0,1]])"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(R"({"a":)" + std::string(entry) + "}"))
        << entry;
  }
}

TEST(ParseHeader, RefusesAnUnknownDtype) {
  for (const char* dtype : {"", "u8", "U8 ", "F80", "FLOAT", "BFLOAT16", "F4_E2M1"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json,
                 parse(R"({"a":[")" + std::string(dtype) + R"(",[],[0,1]]})"))
        << dtype;
  }
}

TEST(ParseHeader, RefusesNegativeAndFractionalNumbers) {
  for (const char* number :
       {"-1", "-0", "1.0", "1e0", "0.5", "18446744073709551616", "1e999", "01"}) {
    const std::string text = number;
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(R"({"a":["U8",[)" + text + "],[0,1]]}"))
        << text;
    EXPECT_ERROR(ErrorCode::invalid_header_json, parse(R"({"a":["U8",[1],[0,)" + text + "]]}"))
        << text;
  }
}

TEST(ParseHeader, RefusesOtherThanTwoOffsets) {
  for (const char* offsets : {"[]", "[0]", "[0,1,1]", "[0,0,1]"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json,
                 parse(R"({"a":["U8",[1],)" + std::string(offsets) + "]}"))
        << offsets;
  }
}

TEST(ParseHeader, RefusesMetadataThatIsNotText) {
  for (const char* metadata :
       {"1", "[]", "\"a\"", "true", R"({"a":1})", R"({"a":null})", R"({"a":{}})", R"({"a":[]})"}) {
    EXPECT_ERROR(ErrorCode::invalid_header_json,
                 parse(R"({"__metadata__":)" + std::string(metadata) + "}"))
        << metadata;
  }
}

TEST(ParseHeader, RefusesDuplicateTensorNames) {
  const auto error = error_of(
      [] { parse(R"({"a":["U8",[0],[0,0]],"b":["U8",[0],[0,0]],"a":["U8",[0],[0,0]]})"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::duplicate_key);
  EXPECT_EQ(error->details().tensor, "a");
}

TEST(ParseHeader, RefusesNamesThatAreEqualOnceUnescaped) {
  EXPECT_ERROR(ErrorCode::duplicate_key,
               parse(R"({"a":["U8",[0],[0,0]],"\u0061":["U8",[0],[0,0]]})"));
}

TEST(ParseHeader, RefusesDuplicateMetadata) {
  EXPECT_ERROR(ErrorCode::duplicate_key, parse(R"({"__metadata__":{},"__metadata__":{}})"));
  EXPECT_ERROR(ErrorCode::duplicate_key, parse(R"({"__metadata__":null,"__metadata__":null})"));
  EXPECT_ERROR(ErrorCode::duplicate_key, parse(R"({"__metadata__":{"a":"1","a":"1"}})"));
}

TEST(ParseHeader, RefusesADuplicateField) {
  for (const char* field : {R"("dtype":"U8")", R"("shape":[6])", R"("data_offsets":[0,6])"}) {
    EXPECT_ERROR(ErrorCode::duplicate_key,
                 parse(R"({"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6],)" +
                       std::string(field) + "}}"))
        << field;
  }
}

TEST(ParseHeader, RefusesAFirstTensorThatDoesNotStartAtZero) {
  EXPECT_ERROR(ErrorCode::invalid_offset, parse(R"({"a":["U8",[1],[1,2]]})"));
}

TEST(ParseHeader, RefusesAHole) {
  EXPECT_ERROR(ErrorCode::invalid_offset, parse(R"({"a":["U8",[1],[0,1]],"b":["U8",[1],[2,3]]})"));
}

TEST(ParseHeader, RefusesAnOverlap) {
  const auto error = error_of([] { parse(R"({"a":["U8",[2],[0,2]],"b":["U8",[2],[1,3]]})"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_offset);
  EXPECT_EQ(error->details().tensor, "b");
  EXPECT_THAT(error->what(), HasSubstr("data_offsets from 2, found 1 to 3"));
}

TEST(ParseHeader, RefusesOffsetsThatRunBackwards) {
  EXPECT_ERROR(ErrorCode::invalid_offset, parse(R"({"a":["U8",[2],[0,2]],"b":["U8",[1],[2,1]]})"));
}

TEST(ParseHeader, RefusesTensorsAtTheSamePlace) {
  EXPECT_ERROR(ErrorCode::invalid_offset, parse(R"({"a":["U8",[2],[0,2]],"b":["U8",[2],[0,2]]})"));
}

TEST(ParseHeader, RefusesAProductOfSizesThatOverflows) {
  for (const char* shape : {"[4294967296,4294967296]", "[4294967296,4294967296,0]",
                            "[9223372036854775807,2]", "[3037000500,3037000500]"}) {
    EXPECT_ERROR(ErrorCode::size_overflow,
                 parse(R"({"a":["U8",)" + std::string(shape) + ",[0,0]]}"))
        << shape;
  }
}

TEST(ParseHeader, RefusesASizeTimesBitsThatOverflows) {
  EXPECT_ERROR(ErrorCode::size_overflow, parse(R"({"a":["F64",[2305843009213693952],[0,0]]})"));
}

TEST(ParseHeader, RefusesASizeAbove63Bits) {
  for (const char* size : {"9223372036854775808", "18446744073709551615"}) {
    EXPECT_ERROR(ErrorCode::size_overflow,
                 parse(R"({"a":["U8",[0,)" + std::string(size) + "],[0,0]]}"))
        << size;
  }
}

TEST(ParseHeader, RefusesASubByteTensorThatDoesNotFillItsLastByte) {
  EXPECT_ERROR(ErrorCode::misaligned_size, parse(R"({"a":["F4",[3],[0,2]]})"));
  EXPECT_ERROR(ErrorCode::misaligned_size, parse(R"({"a":["F6_E2M3",[2],[0,1]]})"));
  EXPECT_EQ(parse(R"({"a":["F4",[2,3],[0,3]]})").data_size, 3u);
}

TEST(ParseHeader, RefusesOffsetsThatDoNotFitTheShape) {
  for (const char* entry : {R"(["F32",[2],[0,4]])", R"(["F32",[2],[0,9]])", R"(["F32",[0],[0,4]])",
                            R"(["U8",[],[0,0]])", R"(["F4",[4],[0,4]])"}) {
    EXPECT_ERROR(ErrorCode::tensor_size_mismatch, parse(R"({"a":)" + std::string(entry) + "}"))
        << entry;
  }
}

TEST(ParseHeader, NamesFileTensorAndNumbers) {
  const auto error = error_of([] { parse(R"({"a.b":["F32",[2,3],[0,8]]})"); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->details().file, "model.safetensors");
  EXPECT_EQ(error->details().tensor, "a.b");
  EXPECT_THAT(error->details().expected, HasSubstr("24 bytes for F32 [2, 3]"));
  EXPECT_EQ(error->details().found, "8");
}

// The limits of this reader.

TEST(ParseHeader, LimitsTheDepthAsTheReferenceDoes) {
  const auto nested = [](int levels) {
    // Two levels are the header's and the entry's.
    return R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":)" +
           std::string(levels - 2, '[') + std::string(levels - 2, ']') + "}}";
  };
  EXPECT_EQ(parse(nested(kDeepestJson)).tensors.size(), 1u);
  EXPECT_ERROR(ErrorCode::invalid_header_json, parse(nested(kDeepestJson + 1)));
}

TEST(ParseHeader, LimitsTheRank) {
  const auto of_rank = [](std::size_t rank) {
    std::string shape = "1";
    for (std::size_t i = 1; i < rank; ++i) shape += ",1";
    return R"({"a":["U8",[)" + shape + "],[0,1]]}";
  };
  EXPECT_EQ(parse(of_rank(kHighestRank)).tensors.at(0).shape.size(), kHighestRank);
  EXPECT_ERROR(ErrorCode::header_too_large, parse(of_rank(kHighestRank + 1)));
}

TEST(ParseHeader, LimitsTheLengthOfANameAndOfNothingElse) {
  const auto named = [](std::size_t length) {
    return R"({")" + std::string(length, 'a') + R"(":["U8",[],[0,1]]})";
  };
  EXPECT_EQ(parse(named(kLongestTensorName)).tensors.size(), 1u);
  EXPECT_ERROR(ErrorCode::header_too_large, parse(named(kLongestTensorName + 1)));
  const std::string longer(2 * kLongestTensorName, 'a');
  EXPECT_EQ(parse(R"({"__metadata__":{"a":")" + longer + R"("}})").metadata.at("a"), longer);
}

}  // namespace
}  // namespace mxferry::internal::testing
