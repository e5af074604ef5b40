#include "base/natural_order.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

namespace mxferry::internal {
namespace {

TEST(NaturalLess, OrdersAsAPersonWould) {
  const std::vector<std::string> ascending = {"",
                                              "a",
                                              "a.2",
                                              "a.2.b",
                                              "a.10",
                                              "a.10.b",
                                              "a.b",
                                              "a00",
                                              "a0",
                                              "a1",
                                              "a01b",
                                              "a1b",
                                              "a99999999999999999998",
                                              "a99999999999999999999",
                                              "b",
                                              "lm_head.weight",
                                              "model.layers.2.x",
                                              "model.layers.10.x"};
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      if (ascending[i] == "a00" || ascending[j] == "a00") continue;  // below
      EXPECT_EQ(natural_less(ascending[i], ascending[j]), i < j)
          << ascending[i] << " and " << ascending[j];
    }
  }
  EXPECT_NE(natural_less("a00", "a0"), natural_less("a0", "a00"));
}

// Names of few characters, so that many are alike.
std::string any_name() {
  return *rc::gen::container<std::string>(
      rc::gen::element('0', '0', '1', '2', '9', '.', 'a', 'b', '\xC3'));
}

RC_GTEST_PROP(NaturalLess, DoesNotDependOnWhatPrecedesANumber, ()) {
  const std::string a = any_name();
  const std::string b = any_name();
  RC_ASSERT(natural_less("x." + a, "x." + b) == natural_less(a, b));
}

RC_GTEST_PROP(NaturalLess, IsAStrictTotalOrder, ()) {
  const std::string a = any_name();
  const std::string b = any_name();
  const std::string c = any_name();
  RC_ASSERT(!natural_less(a, a));
  RC_ASSERT((a == b) == (!natural_less(a, b) && !natural_less(b, a)));
  RC_ASSERT(!(natural_less(a, b) && natural_less(b, a)));
  if (natural_less(a, b) && natural_less(b, c)) RC_ASSERT(natural_less(a, c));
}

}  // namespace
}  // namespace mxferry::internal
