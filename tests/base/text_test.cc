#include "base/text.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <string>

#include "mxferry/error.h"

namespace mxferry::internal::testing {
namespace {

// The code point in UTF-8, by the definition and without checks.
std::string encoded(std::uint32_t code) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xC0 | code >> 6), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xE0 | code >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | code >> 18), tail(12), tail(6), tail(0)};
}

TEST(IsUtf8, AcceptsExactlyTheCodePointsOfUnicode) {
  for (std::uint32_t code = 0; code < 0x200000; ++code) {
    const bool is_surrogate = code >= 0xD800 && code < 0xE000;
    ASSERT_EQ(is_utf8(encoded(code)), code <= 0x10FFFF && !is_surrogate) << code;
  }
}

TEST(IsUtf8, RefusesOverlongForms) {
  for (const char* text : {"\xC0\xAF", "\xC1\xBF", "\xE0\x80\xAF", "\xE0\x9F\xBF",
                           "\xF0\x80\x80\xAF", "\xF0\x8F\xBF\xBF"}) {
    EXPECT_FALSE(is_utf8(text));
  }
}

TEST(IsUtf8, RefusesBrokenSequences) {
  for (const char* text :
       {"\x80", "\xBF", "\xFE", "\xFF", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC3(", "\xE2(\xA1",
        "\xE2\x82(", "\xF0\x9F\x98(", "\xF5\x80\x80\x80", "\xF8\x88\x80\x80\x80"}) {
    EXPECT_FALSE(is_utf8(text)) << printable(text);
    EXPECT_FALSE(is_utf8(std::string("before") + text));
    EXPECT_FALSE(is_utf8("sixteen bytes ..." + std::string(text) + "and sixteen more"));
  }
}

TEST(IsUtf8, AcceptsTheEmptyTextAndNul) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8(std::string(20, '\0')));
}

RC_GTEST_PROP(IsUtf8, HoldsForTheWholeWhereItHoldsForTheParts,
              (const std::string& a, const std::string& b)) {
  if (is_utf8(a)) {
    RC_ASSERT(is_utf8(a + b) == is_utf8(b));
    RC_ASSERT(is_utf8(b + a) == is_utf8(b));
  }
}

TEST(Printable, LeavesOrdinaryText) {
  for (const char* text : {"", "model.layers.0.weight", "a 'b' \"c\" \\ /", "\xC3\xA9 \xE2\x82\xAC",
                           "\xF0\x9F\x98\x80"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, EscapesControls) {
  EXPECT_EQ(printable(std::string("\0\n\x1b[31m\x7f", 8)), "\\x00\\x0a\\x1b[31m\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"), "\\xc2\\x9b");           // a C1 control
  EXPECT_EQ(printable("\xE2\x80\xAE"), "\\xe2\\x80\\xae");  // right-to-left override
  EXPECT_EQ(printable("\xE2\x80\xA8"), "\\xe2\\x80\\xa8");  // line separator
  EXPECT_EQ(printable("\xE2\x81\xA6"), "\\xe2\\x81\\xa6");  // left-to-right isolate
}

TEST(Printable, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(printable("a\xFF\xC3"), "a\\xff\\xc3");
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");
}

RC_GTEST_PROP(Printable, GivesUtf8WithoutControls, (const std::string& text)) {
  const std::string shown = printable(text);
  RC_ASSERT(is_utf8(shown));
  for (const char c : shown) RC_ASSERT(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  RC_ASSERT(printable(shown) == shown);
}

TEST(Grouped, PutsCommasBetweenThousands) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(9216000), "9,216,000");
  EXPECT_EQ(grouped(1000), "1,000");
}

}  // namespace
}  // namespace mxferry::internal::testing
