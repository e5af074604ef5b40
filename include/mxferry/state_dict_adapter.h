#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mxferry/device_mesh.h"
#include "mxferry/tensor.h"

namespace mxferry {

// What happens to the experts' weights on the way to Hugging Face's layout.
enum class Quantization {
  none,     // they stay dense
  storage,  // placeholders of the packed shapes, into which a loader reads a packed checkpoint
  values,   // the weights, quantized
};

// Converts a state dict between a framework's own ("native") names and those of a Hugging Face
// checkpoint. The interface of NeMo AutoModel's StateDictAdapter (Automodel 36044ad3,
// checkpoint/state_dict_adapter.py). Const functions may run concurrently on different state dicts.
class StateDictAdapter {
 public:
  // One native tensor may become several.
  using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

  StateDictAdapter() = default;
  StateDictAdapter(const StateDictAdapter&) = delete;
  StateDictAdapter& operator=(const StateDictAdapter&) = delete;
  virtual ~StateDictAdapter() = default;

  // Turns a Hugging Face state dict into a native one, in place. `device_mesh` is the grid of ranks
  // that hold the parameters; without dimensions, this process alone.
  virtual void from_hf(StateDict& state_dict, const DeviceMesh& device_mesh) const = 0;
  void from_hf(StateDict& state_dict) const { from_hf(state_dict, DeviceMesh()); }

  // Makes a Hugging Face state dict from a native one, in the same order. Tensors that change only
  // their name share the native tensors' storage. `exclude_key_regex` drops the tensors whose
  // Hugging Face name Python's re.match would match (anchored at the start, not at the end); if
  // empty, it drops none.
  virtual StateDict to_hf(const StateDict& state_dict, std::string_view exclude_key_regex,
                          Quantization quantization) const = 0;
  StateDict to_hf(const StateDict& state_dict) const {
    return to_hf(state_dict, "", Quantization::none);
  }

  // What to_hf() makes of one tensor with this native name: nothing if it is excluded.
  virtual NamedTensors convert_single_tensor_to_hf(std::string_view name, const Tensor& tensor,
                                                   std::string_view exclude_key_regex,
                                                   Quantization quantization) const = 0;
  NamedTensors convert_single_tensor_to_hf(std::string_view name, const Tensor& tensor) const {
    return convert_single_tensor_to_hf(name, tensor, "", Quantization::none);
  }

  // The names that to_hf() gives without quantization, except those that match .*_extra_state.*
  // (Transformer Engine's opaque values, which no checkpoint in Hugging Face's layout holds).
  std::vector<std::string> get_hf_state_dict_keys(const StateDict& state_dict) const;
};

}  // namespace mxferry
