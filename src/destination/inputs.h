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

// A checkpoint's weights, index and config.json, and the named side files.
Input input_of(std::string what, const SourceCheckpoint& checkpoint,
               const std::vector<std::string>& side_files = {});

// Throws Error(invalid_argument) if an input, or a link that leads to it, is in the destination,
// where a new checkpoint would replace it, or in its state folder. Compares folders by identity,
// not by name. Hard links to files in the destination are harmless: a file there is never written
// to.
void refuse_inputs_in(const std::filesystem::path& destination, const std::vector<Input>& inputs);

}  // namespace mxferry::internal
