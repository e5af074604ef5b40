#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "source/source_checkpoint.h"

namespace mxferry::internal {

// Files that a command reads.
struct Input {
  std::string what;  // for messages: "source", "reference"
  std::vector<std::filesystem::path> files;
};

// The weights, index and config.json of a checkpoint, and of `side_files` those beside it.
Input input_of(std::string what, const SourceCheckpoint& checkpoint,
               const std::vector<std::string>& side_files = {});

// Throws Error(invalid_argument) where a file that is read, or a link that leads to it, lies in the
// destination, where a new checkpoint would replace it. Folders are compared by identity, not by
// name. Files that share their content with one in the destination (hard links) are not harmed: a
// file there is never written to.
void refuse_inputs_in(const std::filesystem::path& destination, const std::vector<Input>& inputs);

}  // namespace mxferry::internal
