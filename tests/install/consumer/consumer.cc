// Uses the public interface alone. The argument is the version that the package claims.

#include <mxferry/dtype.h>
#include <mxferry/error.h>
#include <mxferry/mxfp4.h>
#include <mxferry/version.h>

#include <cstdio>
#include <string_view>

int main(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]) != MXFERRY_VERSION) {
    std::fprintf(stderr, "the headers are of version %s\n", MXFERRY_VERSION);
    return 1;
  }
  if (mxferry::FP4_VALUES[7] != 6.0f || mxferry::bits(mxferry::DType::BF16) != 16 ||
      mxferry::parse_dtype("F6_E2M3") != mxferry::DType::F6_E2M3) {
    std::fprintf(stderr, "the library does not do what its headers say\n");
    return 1;
  }
  try {
    throw mxferry::Error(mxferry::ErrorCode::io_error, {.problem = "thrown by the program"});
  } catch (const mxferry::Error& error) {
    std::printf("mxferry %s: %s: %s\n", MXFERRY_VERSION, mxferry::name(error.code()), error.what());
  }
  return 0;
}
