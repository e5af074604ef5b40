#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "mxferry/safetensors.h"

namespace mxferry::internal {

// The format's limit on the bytes of a header. Source: safetensors 0.8, MAX_HEADER_SIZE.
inline constexpr std::uint64_t kLargestHeader = 100'000'000;

// Limits of this reader, far above real files. They keep the memory for a hostile header below 64
// MB plus three times its size. Beyond them: Error(header_too_large).
inline constexpr std::size_t kMostTensors = 65'536;
inline constexpr std::size_t kMostMetadataEntries = 100'000;
inline constexpr std::size_t kLongestTensorName = 65'536;
inline constexpr std::size_t kHighestRank = 32;

// Parses and validates the text of a header, except for the length of the file: data_offset is 8 +
// text.size(), data_size is the bytes of all tensors. Errors as read_safetensors_header(), with
// `file` as the place.
SafetensorsHeader parse_safetensors_header(std::string text, const std::filesystem::path& file);

// read_safetensors_header() without the check that the file ends where its last tensor does.
SafetensorsHeader read_header_of_any_length(const File& file);

// The file length that the header implies.
inline std::uint64_t file_size(const SafetensorsHeader& header) noexcept {
  return header.data_offset + header.data_size;
}

// Throws Error(file_size_mismatch) if the file has a different length.
void check_file_size(const SafetensorsHeader& header, const File& file);

// A header to be written: `bytes` are the first header.data_offset bytes of the file.
struct NewHeader {
  SafetensorsHeader header;
  std::string bytes;
};

// Lays out a new file as the reference implementation does: larger dtypes first (descending in
// DType), then by name in byte order, without gaps; `__metadata__` first, its keys sorted; padded
// with spaces so that the data begins at a multiple of 8. Ignores begin and end of `tensors`.
// Throws Error: invalid_argument (a name is reserved or given twice, or a text is not UTF-8),
// header_too_large, size_overflow, misaligned_size.
NewHeader make_safetensors_header(std::vector<TensorInfo> tensors,
                                  std::map<std::string, std::string> metadata);

// The bytes that a tensor of this dtype and shape takes. Throws Error(size_overflow),
// Error(misaligned_size) with file and tensor name.
std::uint64_t byte_count(const TensorInfo& tensor, const std::filesystem::path& file);

}  // namespace mxferry::internal
