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

// Limits of this reader, far above real files, that keep the memory for a hostile header below 64
// MB and three times its size. Beyond them: Error(header_too_large).
inline constexpr std::size_t kMostTensors = 65'536;
inline constexpr std::size_t kMostMetadataEntries = 100'000;
inline constexpr std::size_t kLongestTensorName = 65'536;
inline constexpr std::size_t kHighestRank = 32;

// Parses and validates the text of a header, all but the length of the file: data_offset is 8 +
// text.size(), data_size is what the tensors take. Errors as read_safetensors_header(), with
// `file` as the place.
SafetensorsHeader parse_safetensors_header(std::string text, const std::filesystem::path& file);

// read_safetensors_header() without the check that the file ends where its last tensor does.
SafetensorsHeader read_header_of_any_length(const File& file);

// The file length that the header demands.
inline std::uint64_t file_size(const SafetensorsHeader& header) noexcept {
  return header.data_offset + header.data_size;
}

// Throws Error(file_size_mismatch) where the file has another length.
void check_file_size(const SafetensorsHeader& header, const File& file);

// A header to be written: `bytes` are the first header.data_offset bytes of the file.
struct NewHeader {
  SafetensorsHeader header;
  std::string bytes;
};

// Lays out a new file as the reference implementation does: larger dtypes first (descending in
// DType), then by name in byte order, without gaps; `__metadata__` first, its keys sorted; padded
// with blanks so that the data begins at a multiple of 8. Of `tensors`, begin and end are ignored.
// Throws Error(invalid_argument) for a name that is reserved, there twice or not UTF-8,
// Error(header_too_large), Error(size_overflow), Error(misaligned_size).
NewHeader make_safetensors_header(std::vector<TensorInfo> tensors,
                                  std::map<std::string, std::string> metadata);

// The bytes that dtype and shape take. Throws Error(size_overflow), Error(misaligned_size) with
// file and tensor name.
std::uint64_t byte_count(const TensorInfo& tensor, const std::filesystem::path& file);

}  // namespace mxferry::internal
