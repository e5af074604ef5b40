#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "mxferry/error.h"

namespace mxferry::internal {

// Whether a file of this name holds tensors: NAME.safetensors, not hidden.
bool is_safetensors_name(std::string_view name);

// Whether the name is that of a trainer's own state: its optimizer's, its random generator's.
bool is_training_state(std::string_view name);

// Whether such a file may be a shard of a model, and not a LoRA adapter or a trainer's state.
bool is_shard_name(std::string_view name);

// "5 tensors: a, b, c, ...": the first few names are enough to recognize the tensors.
std::string count_and_names(const std::vector<std::string_view>& tensors);

// The error for a folder without an index or shards: says what it holds instead and what to do.
// `names` are those of its files and folders.
Error explain_no_model(const std::filesystem::path& folder, const std::vector<std::string>& names);

// Paths of unfinished downloads: beside the files, in the folder's download cache
// (.cache/huggingface/download), and among the blobs of the Hugging Face cache entry that holds the
// folder. Sorted.
std::vector<std::filesystem::path> unfinished_downloads(const std::filesystem::path& folder);

}  // namespace mxferry::internal
