#include <mxferry/error.h>
#include <mxferry/gpt_oss_state_dict_adapter.h>
#include <mxferry/safetensors.h>

#include <iostream>

// Decodes one file of a Hugging Face checkpoint and gives its tensors NeMo AutoModel's names.
int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: example_from_hf IN.safetensors OUT.safetensors\n";
    return 2;
  }
  try {
    const mxferry::GPTOSSStateDictAdapter adapter(mxferry::GptOssConfig{}, mxferry::MoEConfig{},
                                                  mxferry::BackendConfig{.attn = "flex"},
                                                  mxferry::DType::BF16);
    mxferry::StateDict state_dict = mxferry::load_safetensors(argv[1]);
    adapter.from_hf(state_dict);
    mxferry::save_safetensors(state_dict, argv[2]);
  } catch (const mxferry::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
