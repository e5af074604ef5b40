#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mxferry/dtype.h"
#include "mxferry/tensor.h"

namespace mxferry {

// One tensor of a safetensors file. Its bytes are [begin, end) of the data section.
struct TensorInfo {
  std::string name;
  DType dtype = DType::U8;
  Shape shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// A validated header: the tensors are stored one after another from offset 0 to the end of the
// file, without gaps or overlaps, each as long as its dtype and shape require; all names differ.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              // by begin, then end, then name
  std::map<std::string, std::string> metadata;  // `__metadata__`; empty if absent or null
  std::uint64_t data_offset = 0;  // start of the data section in the file: 8 + header length
  std::uint64_t data_size = 0;    // bytes of the data section
};

// Reads and validates the header of a file; never reads the data. At least as strict as the
// reference implementation (safetensors 0.8, tensor.rs); also refuses duplicate names, which that
// one accepts silently. Throws Error with the file and, if one is involved, the tensor:
// header_too_small, header_too_large, invalid_header_length, invalid_header_utf8,
// invalid_header_json, duplicate_key, invalid_offset, size_overflow, misaligned_size,
// tensor_size_mismatch, file_size_mismatch, git_lfs_pointer, not_a_checkpoint (not a regular file),
// io_error.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& file);

// Reads a whole file into memory, in the order of the data. Throws what read_safetensors_header()
// throws, and Error(not_enough_memory).
StateDict load_safetensors(const std::filesystem::path& file);

// Writes a file as the reference implementation does (byte for byte: dtypes in descending order,
// then names; header padded to 8 bytes), under a temporary name that is changed to `file` once the
// data is complete and synced. Throws Error(io_error), Error(invalid_argument) for a name that the
// format reserves, Error(header_too_large).
void save_safetensors(const StateDict& state_dict, const std::filesystem::path& file,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace mxferry
