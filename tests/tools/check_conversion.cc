// check_conversion SRC DST: exit 0 when every weight of DST is what the scalar reference makes of
// SRC.
#include "tests/support/check_conversion.h"

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: check_conversion SRC DST\n", stderr);
    return 2;
  }
  try {
    const mxferry::internal::testing::CheckResult result =
        mxferry::internal::testing::check_conversion(argv[1], argv[2]);
    if (!result.difference.empty()) {
      std::fprintf(stderr, "check_conversion: %s\n", result.difference.c_str());
      return 1;
    }
    std::printf("check_conversion: %llu weights equal the scalar reference\n",
                static_cast<unsigned long long>(result.weights));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "check_conversion: %s\n", error.what());
    return 3;
  }
}
