#pragma once

#include <filesystem>
#include <vector>

#include "mxferry/inspect.h"

namespace mxferry::internal {

// The folder that holds the weights of what may be a NeMo AutoModel checkpoint: `given` itself if
// it has shards or an index, else the first of model/, model/consolidated/ and consolidated/ in it
// that has some, else `given`. So the files of the ranks take precedence over those consolidated
// from them; if both exist, adds a warning.
std::filesystem::path find_weights(const std::filesystem::path& given,
                                   std::vector<Problem>& warnings);

// The folder that holds config.json, the tokenizer and so on for these weights: .hf_metadata/ in
// the weights' folder, where NeMo keeps them beside the files of the ranks, if only that has a
// config.json; else the weights' folder.
std::filesystem::path find_side_folder(const std::filesystem::path& weights);

}  // namespace mxferry::internal
