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

// Loads the native state dict of this rank of a mesh from a checkpoint folder of any layout or a
// Hub name in the local cache. Its tensors are those that adapter.from_hf() with the mesh would
// leave of the whole checkpoint, in natural order of the names: the experts' tensors are cut
// according to expert_placements(), packed ones are decoded to adapter.dtype(), and all others are
// whole and keep their dtypes.
//
// Uses the memory of the result plus a few MiB per thread. Of a tensor that "ep" cuts, only this
// rank's experts are read; "ep_shard" cuts rows, and gaps of less than a page between the cut rows
// are read too. Throws Error: what expert_placements() and CheckpointReader throw, wrong_shape as
// in from_hf(), not_enough_memory.
LoadedCheckpoint load_checkpoint(const std::string& source, const GPTOSSStateDictAdapter& adapter,
                                 const DeviceMesh& device_mesh = {},
                                 const LoadOptions& options = {});

}  // namespace mxferry
