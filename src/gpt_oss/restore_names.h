#pragma once

#include <vector>

#include "mxferry/inspect.h"
#include "recipe/catalog.h"

namespace mxferry::internal {

// Programs that wrap a model, or save it in several steps, leave traces in its tensors' names:
// components such as "_orig_mod." anywhere, another prefix than "model." or none, doubled endings.
// transformers finds none of these names. Renames the catalog's tensors as their layout does, and
// sorts it by name. Names that no layout knows, and those of another model beside the one with
// experts, stay. What was removed becomes a note; two tensors that would have the same name are a
// fatal problem.
//
// Sources of the traces: torch.compile ("_orig_mod."), DistributedDataParallel ("module."), FSDP
// ("_fsdp_wrapped_module."), activation checkpointing ("_checkpoint_wrapped_module."), PEFT
// ("base_model.model."), transformers 5.4.0 ("_blocks_blocks", "_blocks_scales").
void restore_names(Catalog& catalog, std::vector<Problem>& problems);

}  // namespace mxferry::internal
