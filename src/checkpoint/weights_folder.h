#pragma once

#include <filesystem>
#include <vector>

#include "mxferry/inspect.h"

namespace mxferry::internal {

// The folder with the weights of what may be a checkpoint of NeMo AutoModel: `given` itself where
// safetensors files lie in it, else the first of model/, model/consolidated/ and consolidated/ in
// it that has some. So the files of the ranks go before what was consolidated from them; where both
// are there, that becomes a warning. `given` where there is none.
std::filesystem::path find_weights(const std::filesystem::path& given,
                                   std::vector<Problem>& warnings);

// The folder with config.json, tokenizer and so on of these weights: where NeMo keeps them beside
// the files of the ranks (.hf_metadata/), else the same folder.
std::filesystem::path find_side_folder(const std::filesystem::path& weights);

}  // namespace mxferry::internal
