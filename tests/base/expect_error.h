#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "mxferry/error.h"

namespace mxferry::internal::testing {

// The Error that the action throws.
inline std::optional<Error> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

inline ::testing::AssertionResult throws(ErrorCode expected, const std::function<void()>& action) {
  const std::optional<Error> error = error_of(action);
  if (!error) return ::testing::AssertionFailure() << "no Error; expected " << name(expected);
  if (error->code() == expected) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "expected " << name(expected) << ", found "
                                       << name(error->code()) << ": " << error->what();
}

}  // namespace mxferry::internal::testing

// The expression throws Error with this code.
#define EXPECT_ERROR(expected_code, expression) \
  EXPECT_TRUE(::mxferry::internal::testing::throws((expected_code), [&] { (void)(expression); }))
