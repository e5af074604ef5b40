#include "mxferry/state_dict_adapter.h"

namespace mxferry {

std::vector<std::string> StateDictAdapter::get_hf_state_dict_keys(
    const StateDict& state_dict) const {
  return to_hf(state_dict, ".*_extra_state.*", Quantization::none).names();
}

}  // namespace mxferry
