#include "base/name_regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>
#include <string>
#include <string_view>

#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

using namespace std::string_view_literals;
using ::testing::HasSubstr;

// A pattern, and what Python finds in each of kNames: '1' a match, '0' none; "E" where it refuses
// the pattern.
struct Row {
  std::string_view pattern;
  std::string_view expected;
};

#include "tests/base/name_regex_table.inc"

// The text of the error that the pattern, or trying it on the name, gives.
std::string error_of(std::string_view pattern, std::string_view name = "") {
  try {
    (void)NameRegex(pattern).matches_start(name);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "no error";
}

TEST(NameRegex, MatchesWhatPythonMatches) {
  for (const Row& row : kRows) {
    if (row.expected == "E") continue;
    ASSERT_EQ(row.expected.size(), std::size(kNames));
    const NameRegex regex(row.pattern);
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
      EXPECT_EQ(regex.matches_start(kNames[i]), row.expected[i] == '1')
          << row.pattern << " on " << kNames[i];
    }
  }
}

TEST(NameRegex, RefusesWhatPythonRefuses) {
  for (const Row& row : kRows) {
    if (row.expected != "E") continue;
    EXPECT_THAT(error_of(row.pattern), HasSubstr("the regular expression is refused"))
        << row.pattern;
  }
}

TEST(NameRegex, SaysWhatItRefusesAndWhere) {
  EXPECT_THAT(error_of("ab\\K"), HasSubstr("bad escape \\K, at position 2"));
  EXPECT_THAT(error_of("a[b"), HasSubstr("a character class without its end, at position 3"));
  EXPECT_THAT(error_of("(?<n>a)"), HasSubstr("extension (?<n>, at position 0"));
  EXPECT_THAT(error_of("a(b"), HasSubstr("parenthesis"));
}

TEST(NameRegex, RefusesWithAReasonWhatItCannotDoAsPython) {
  EXPECT_THAT(error_of("\\N{DIGIT ONE}"), HasSubstr("bad escape \\N"));
  EXPECT_THAT(error_of("(?a)k"), HasSubstr("unsupported extension"));
  EXPECT_THAT(error_of("(?u:k)"), HasSubstr("unsupported extension"));
  EXPECT_THAT(error_of("a{65536}"), HasSubstr("too big"));
}

TEST(NameRegex, RefusesTextThatIsNotUtf8) {
  EXPECT_THAT(error_of("a\xFF"), HasSubstr("UTF-8 error"));
  EXPECT_THAT(error_of("a", "a\xFF"), HasSubstr("UTF-8"));
}

TEST(NameRegex, DeepNestingIsAnErrorNotAnOverflow) {
  for (const std::string_view open : {"(", "(?:", "(?=", "(?i:"}) {
    std::string pattern;
    for (int i = 0; i < 100'000; ++i) pattern += open;
    EXPECT_THAT(error_of(pattern), HasSubstr("nested"));
  }
}

TEST(NameRegex, ASearchWithoutEndIsAnError) {
  const std::string name(200, 'a');
  EXPECT_THAT(error_of("(?:a|aa)+(?:a|aa)+(?:a|aa)+[bc]", name), HasSubstr("match limit"));
}

TEST(NameRegex, TakesAnEmptyView) {
  EXPECT_TRUE(NameRegex("").matches_start({}));
  EXPECT_TRUE(NameRegex(std::string_view()).matches_start("a"));
  EXPECT_FALSE(NameRegex("a").matches_start({}));
}

TEST(NameRegex, MovesWithItsCode) {
  NameRegex first("a+b");
  const NameRegex second = std::move(first);
  EXPECT_TRUE(second.matches_start("aab"));
}

}  // namespace
}  // namespace mxferry::internal
