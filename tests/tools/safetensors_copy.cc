// Reads safetensors files and writes them anew, for comparison with other implementations:
//   safetensors_copy IN OUT [IN OUT ...]
// prints one line for each pair: "ok", or the name of the error.
#include <cstdio>
#include <string>
#include <vector>

#include "mxferry/error.h"
#include "mxferry/safetensors.h"

namespace {

const char* copy(const std::string& in, const std::string& out) {
  try {
    const auto metadata = mxferry::read_safetensors_header(in).metadata;
    mxferry::save_safetensors(mxferry::load_safetensors(in), out, metadata);
    return "ok";
  } catch (const mxferry::Error& error) {
    return mxferry::name(error.code());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> files(argv + 1, argv + argc);
  for (std::size_t i = 0; i + 1 < files.size(); i += 2) {
    std::puts(copy(files[i], files[i + 1]));
  }
}
