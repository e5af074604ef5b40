// Uses the public interface as a program of somebody else's does, and every library behind it:
// Highway decodes, PCRE2 matches names, {fmt} and nlohmann-json read and describe a folder. The
// argument is the version that the package claims.

#include <mxferry/error.h>
#include <mxferry/gpt_oss_state_dict_adapter.h>
#include <mxferry/inspect.h>
#include <mxferry/tensor.h>
#include <mxferry/version.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

namespace {

constexpr const char* kPackedName = "model.layers.0.mlp.experts.down_proj";
constexpr const char* kNativeName = "model.layers.0.mlp.experts.down_projs";

mxferry::Tensor filled(mxferry::Shape shape, int byte) {
  mxferry::Tensor tensor = mxferry::Tensor::empty(mxferry::DType::U8, std::move(shape));
  std::memset(tensor.data(), byte, tensor.byte_count());
  return tensor;
}

// One expert of 32 inputs and 3 outputs; code 7 with scale 128 is FP4_VALUES[7] * 2.
bool adapter_decodes_and_renames() {
  mxferry::StateDict state_dict;
  state_dict.set(std::string(kPackedName) + "_blocks", filled({1, 3, 1, 16}, 0x77));
  state_dict.set(std::string(kPackedName) + "_scales", filled({1, 3, 1}, 128));
  const mxferry::GPTOSSStateDictAdapter adapter({}, {}, {}, mxferry::DType::F32);
  adapter.from_hf(state_dict);
  const mxferry::Tensor& dense = state_dict.at(kNativeName);
  if (dense.shape() != mxferry::Shape{1, 32, 3}) return false;
  for (std::int64_t i = 0; i < dense.element_count(); ++i) {
    if (dense.as<float>()[i] != mxferry::FP4_VALUES[7] * 2) return false;
  }
  return adapter.to_hf(state_dict, "", mxferry::Quantization::none).contains(kPackedName) &&
         adapter.to_hf(state_dict, R"(.*\.down_proj$)", mxferry::Quantization::none).empty();
}

bool errors_reach_the_program() {
  try {
    mxferry::inspect("/no/such/folder");
  } catch (const mxferry::Error& error) {
    std::printf("%s: %s\n", mxferry::name(error.code()), error.what());
    return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || std::strcmp(argv[1], MXFERRY_VERSION) != 0) {
    std::fprintf(stderr, "the headers are of version %s\n", MXFERRY_VERSION);
    return 1;
  }
  if (!adapter_decodes_and_renames() || !errors_reach_the_program()) {
    std::fprintf(stderr, "the library does not do what its headers say\n");
    return 1;
  }
  return 0;
}
