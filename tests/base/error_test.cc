#include "mxferry/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace mxferry::internal::testing {
namespace {

TEST(Error, SaysAllThatIsKnownInOneLine) {
  const Error error(ErrorCode::wrong_shape, {.problem = "a wrong shape",
                                             .file = "dir/a.safetensors",
                                             .tensor = "model.norm.weight",
                                             .expected = "[2]",
                                             .found = "[3]",
                                             .advice = "Look at the config"});
  EXPECT_STREQ(error.what(),
               "dir/a.safetensors: tensor 'model.norm.weight': a wrong shape; expected [2], found "
               "[3]. Look at the config");
  EXPECT_EQ(error.code(), ErrorCode::wrong_shape);
  EXPECT_EQ(error.details().tensor, "model.norm.weight");
}

TEST(Error, LeavesOutWhatIsNotKnown) {
  EXPECT_STREQ(Error(ErrorCode::io_error, {.problem = "no luck"}).what(), "no luck");
  EXPECT_STREQ(Error(ErrorCode::io_error, {.problem = "no luck", .found = "3"}).what(),
               "no luck; found 3");
  EXPECT_STREQ(Error(ErrorCode::io_error, {.problem = "no luck", .expected = "4"}).what(),
               "no luck; expected 4");
}

TEST(Error, EscapesHostileNames) {
  EXPECT_STREQ(Error(ErrorCode::io_error, {.problem = "bad", .tensor = "a\n\x1b[2J\xFF"}).what(),
               "tensor 'a\\x0a\\x1b[2J\\xff': bad");
}

TEST(ErrorCode, HasANameAndACategory) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(ErrorCode::cancelled); ++i) {
    const char* code_name = name(static_cast<ErrorCode>(i));
    EXPECT_STRNE(code_name, "unknown") << i;
    names.insert(code_name);
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(ErrorCode::cancelled) + 1);
  EXPECT_EQ(category(ErrorCode::destination_exists), ErrorCategory::usage);
  EXPECT_EQ(category(ErrorCode::invalid_offset), ErrorCategory::source);
  EXPECT_EQ(category(ErrorCode::io_error), ErrorCategory::system);
  EXPECT_EQ(category(ErrorCode::not_enough_disk), ErrorCategory::limit);
  EXPECT_EQ(category(ErrorCode::cancelled), ErrorCategory::cancelled);
}

}  // namespace
}  // namespace mxferry::internal::testing
