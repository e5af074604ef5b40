#include "mxferry/load_checkpoint.h"

#include <utility>
#include <vector>

#include "adapter/rank_part.h"
#include "mxferry/placement.h"
#include "tensor/strides.h"

namespace mxferry {

using namespace internal;

LoadedCheckpoint load_checkpoint(const std::string& source, const GPTOSSStateDictAdapter& adapter,
                                 const DeviceMesh& device_mesh, const LoadOptions& options) {
  const std::vector<Placement> placements = GPTOSSStateDictAdapter::expert_placements(device_mesh);
  // The adapter distinguishes only "te" from all other backends.
  const bool te = adapter.backend().attn == "te";
  const CheckpointReader reader({.source = source,
                                 .layout = Layout::nemo,
                                 .backend = {.attn = te ? "te" : "flex"},
                                 .dtype = dense_codec(adapter.dtype()),
                                 .orientation = options.orientation});
  LoadedCheckpoint loaded;
  std::vector<Region> regions;
  for (std::size_t i = 0; i < reader.tensors().size(); ++i) {
    const ReadableTensor& tensor = reader.tensors()[i];
    TensorPart part = rank_part(tensor.name, tensor.shape, device_mesh, placements);
    Tensor memory = Tensor::empty(tensor.stored_dtype.value_or(adapter.dtype()), part.extent);
    regions.push_back({.tensor = i,
                       .begin = std::move(part.begin),
                       .extent = part.extent,
                       .data = memory.data(),
                       .strides = row_major_strides(part.extent),
                       .dtype = memory.dtype()});
    loaded.state_dict.set(tensor.name, std::move(memory));
  }
  loaded.bytes_read = reader.read(regions, options.read);
  return loaded;
}

}  // namespace mxferry
