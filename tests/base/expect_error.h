#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "mxferry/error.h"

namespace mxferry::testing {

// The Error that the action throws.
template <typename Action>
std::optional<Error> error_of(Action&& action) {
  try {
    std::forward<Action>(action)();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

template <typename Action>
::testing::AssertionResult throws(ErrorCode expected, Action&& action) {
  const std::optional<Error> error = error_of(std::forward<Action>(action));
  if (!error) return ::testing::AssertionFailure() << "no Error; expected " << name(expected);
  if (error->code() == expected) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "expected " << name(expected) << ", found "
                                       << name(error->code()) << ": " << error->what();
}

}  // namespace mxferry::testing

// The expression throws Error with this code.
#define EXPECT_ERROR(expected_code, expression) \
  EXPECT_TRUE(::mxferry::testing::throws((expected_code), [&] { (void)(expression); }))
