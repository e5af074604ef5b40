#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mxferry/checkpoint_reader.h"
#include "mxferry/device_mesh.h"
#include "mxferry/gpt_oss_state_dict_adapter.h"
#include "mxferry/layout.h"
#include "mxferry/tensor.h"

namespace mxferry {

struct LoadOptions {
  std::optional<AxisOrder> orientation = {};  // as in ConvertOptions
  ReadOptions read = {};
};

struct LoadedCheckpoint {
  StateDict state_dict;
  std::uint64_t bytes_read = 0;  // of the files' tensor data
};

// The native state dict of this rank of a mesh, from a checkpoint folder of any layout or a Hub
// name that lies in the local cache. Its tensors are those that adapter.from_hf() with the mesh
// would leave of the whole checkpoint, in natural order of the names: the experts' cut as
// expert_placements() says, packed ones decoded to adapter.dtype(), all others whole and of the
// dtype that they have.
//
// Memory is the result and a few MiB a thread. Of a tensor that "ep" cuts, this rank's experts are
// read and no byte more; "ep_shard" cuts rows, and what lies between two pieces of less than a page
// is read with them. Throws Error: what expert_placements() and CheckpointReader throw, wrong_shape
// as from_hf(), not_enough_memory.
LoadedCheckpoint load_checkpoint(const std::string& source, const GPTOSSStateDictAdapter& adapter,
                                 const DeviceMesh& device_mesh = {},
                                 const LoadOptions& options = {});

}  // namespace mxferry
