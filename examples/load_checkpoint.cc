#include <mxferry/gpt_oss_state_dict_adapter.h>
#include <mxferry/load_checkpoint.h>

#include <exception>
#include <iostream>
#include <string>

// Loads one rank's part of a checkpoint whose experts are spread over several ranks.
int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: example_load_checkpoint CHECKPOINT RANKS RANK\n";
    return 2;
  }
  try {
    const mxferry::GPTOSSStateDictAdapter adapter({}, {}, {.attn = "flex"}, mxferry::DType::BF16);
    const mxferry::DeviceMesh mesh{
        {{.name = "ep", .size = std::stoll(argv[2]), .coordinate = std::stoll(argv[3])}}};
    const auto [state_dict, bytes_read] = mxferry::load_checkpoint(argv[1], adapter, mesh);
    for (const auto& [name, tensor] : state_dict) {
      std::cout << name << ' ' << mxferry::to_string(tensor.shape()) << '\n';
    }
    std::cout << bytes_read << " bytes read\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
