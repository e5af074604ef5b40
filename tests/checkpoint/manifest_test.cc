#include "checkpoint/manifest.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/file_name.h"
#include "tests/base/expect_error.h"

namespace mxferry::internal {
namespace {

const std::string kA(64, 'a');
const std::string kB(64, 'b');

Manifest parse(const std::string& text) {
  return parse_manifest(text, "SHA256SUMS");
}

TEST(Manifest, IsALineAFile) {
  EXPECT_EQ(serialize_manifest({{"b", kB}, {"a a", kA}}), kA + "  a a\n" + kB + "  b\n");
  EXPECT_EQ(serialize_manifest({{"a\nb\\c\r", kA}}), "\\" + kA + "  a\\nb\\\\c\\r\n");
}

TEST(Manifest, IsTakenAsSha256sumWritesIt) {
  EXPECT_EQ(parse(""), Manifest{});
  EXPECT_EQ(parse("# of today\n\n" + kA + " *a\n" + kB + "  original/b"),
            (Manifest{{"a", kA}, {"original/b", kB}}));
  EXPECT_EQ(parse("\\" + kA + "  a\\nb\\\\c\n"), (Manifest{{"a\nb\\c", kA}}));
  EXPECT_EQ(parse(kA + "  a\n" + kA + "  a\n"), (Manifest{{"a", kA}}));
  EXPECT_EQ(parse(std::string(64, 'A') + "  ./a\r\n" + kB + " *././b/c\r\n"),
            (Manifest{{"a", kA}, {"b/c", kB}}));
}

TEST(Manifest, IsRefusedWithTheLine) {
  const std::string good = kA + "  a\n";
  for (const std::string& line :
       {std::string("x"), kA, kA + "  ", kA + " a", kA + "a  b", kA.substr(1) + "  b", kA + "  ./",
        std::string(64, 'g') + "  b", kA + "  ../b", kA + "  /b", kA + "  b/", "\\" + kA + "  b\\",
        "\\" + kA + "  b\\t", kB + "  a", kA + "  b" + std::string(1, '\0')}) {
    const std::optional<Error> error = testing::error_of([&] { parse(good + line); });
    ASSERT_TRUE(error) << line;
    EXPECT_EQ(error->code(), ErrorCode::invalid_manifest);
    EXPECT_NE(std::string(error->what()).find("line 2"), std::string::npos) << error->what();
  }
}

RC_GTEST_PROP(Manifest, OfAnyNamesComesBack, (const std::vector<std::string>& names)) {
  Manifest manifest;
  for (const std::string& name : names) {
    if (stays_below(name)) manifest[name] = kA;
  }
  RC_ASSERT(parse(serialize_manifest(manifest)) == manifest);
}

}  // namespace
}  // namespace mxferry::internal
