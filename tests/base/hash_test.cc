#include "base/hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>

namespace mxferry::internal {
namespace {

std::string digest_of(const std::string& text) {
  return sha256_of(std::as_bytes(std::span(text)));
}

// The examples of FIPS 180-2.
TEST(Sha256, IsThatOfTheStandard) {
  EXPECT_EQ(digest_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnThePieces) {
  const std::string text(1'000'000, 'a');
  Sha256 hash;
  for (std::size_t begin = 0, step = 1; begin < text.size();
       begin += step, step = step * 3 % 1009 + 1) {
    hash.add(std::as_bytes(std::span(text)).subspan(begin, std::min(step, text.size() - begin)));
  }
  EXPECT_EQ(hash.digest(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(hash.digest(), digest_of(""));
}

// What `git hash-object` says.
TEST(GitBlobHash, IsThatOfGit) {
  const std::string text = "test content\n";
  GitBlobHash hash(text.size());
  hash.add(std::as_bytes(std::span(text)));
  EXPECT_EQ(hash.digest(), "d670460b4b4aece5915caf5c68d12f560a9fe3e4");
  EXPECT_EQ(GitBlobHash(0).digest(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

TEST(IsHexadecimal, TakesLowerCaseOfTheLength) {
  EXPECT_TRUE(is_hexadecimal("0123456789abcdef", 16));
  EXPECT_FALSE(is_hexadecimal("0123456789abcdef", 15));
  EXPECT_FALSE(is_hexadecimal("0123456789ABCDEF", 16));
  EXPECT_FALSE(is_hexadecimal("g", 1));
  EXPECT_FALSE(is_hexadecimal(std::string(1, '\0'), 1));
}

}  // namespace
}  // namespace mxferry::internal
