#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "checkpoint/git_lfs.h"
#include "checkpoint/safetensors_header.h"
#include "mxferry/error.h"
#include "mxferry/safetensors.h"

namespace mxferry {

using namespace internal;

namespace {

constexpr std::size_t kLengthBytes = 8;  // of the header's length, which precedes it

std::uint64_t little_endian(std::span<const std::byte, kLengthBytes> bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) {
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  }
  return value;
}

void refuse_lfs_pointer(const File& file, std::uint64_t size) {
  std::string start(std::min<std::uint64_t>(size, kGitLfsStart.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(start)));
  if (is_git_lfs_pointer(start)) {
    throw Error(ErrorCode::git_lfs_pointer,
                {.problem = "this is a Git LFS pointer, not the weights",
                 .file = file.path(),
                 .advice = "Run `git lfs pull` in the folder"});
  }
}

std::uint64_t read_header_length(const File& file, std::uint64_t size) {
  if (size < kLengthBytes) {
    throw Error(ErrorCode::header_too_small,
                {.problem = "the file is too small for a safetensors file",
                 .file = file.path(),
                 .expected = "at least 8 bytes",
                 .found = std::to_string(size),
                 .advice = "Copy or download it again"});
  }
  std::array<std::byte, kLengthBytes> bytes{};
  file.read(0, bytes);
  const std::uint64_t length = little_endian(bytes);
  if (length > kLargestHeader) {
    throw Error(ErrorCode::header_too_large,
                {.problem = "the header is longer than the format allows",
                 .file = file.path(),
                 .expected = "at most " + std::to_string(kLargestHeader) + " bytes",
                 .found = std::to_string(length),
                 .advice = "Is this a safetensors file?"});
  }
  if (length > size - kLengthBytes) {
    throw Error(ErrorCode::invalid_header_length,
                {.problem = "the file ends within its header",
                 .file = file.path(),
                 .expected = "a header of " + std::to_string(length) + " bytes",
                 .found = std::to_string(size - kLengthBytes),
                 .advice = "Was it cut short? Copy or download it again"});
  }
  return length;
}

SafetensorsHeader read_header(const File& file) {
  SafetensorsHeader header = read_header_of_any_length(file);
  check_file_size(header, file);
  return header;
}

std::span<std::byte> bytes_of(Tensor& tensor) {
  return {tensor.data(), tensor.byte_count()};
}

}  // namespace

void internal::check_file_size(const SafetensorsHeader& header, const File& file) {
  const std::uint64_t size = file.size();
  if (size == file_size(header)) return;
  const bool is_short = size < file_size(header);
  throw Error(ErrorCode::file_size_mismatch,
              {.problem = is_short ? "the file ends before its last tensor does"
                                   : "the file goes on after its last tensor",
               .file = file.path(),
               .expected = std::to_string(file_size(header)) + " bytes",
               .found = std::to_string(size),
               .advice = is_short ? "Was it cut short? Copy or download it again"
                                  : "Copy or download it again"});
}

SafetensorsHeader internal::read_header_of_any_length(const File& file) {
  const std::uint64_t size = file.size();
  refuse_lfs_pointer(file, size);
  std::string text(read_header_length(file, size), '\0');
  file.read(kLengthBytes, std::as_writable_bytes(std::span(text)));
  return parse_safetensors_header(std::move(text), file.path());
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  return read_header(File::open_for_reading(path));
}

StateDict load_safetensors(const std::filesystem::path& path) {
  const File file = File::open_for_reading(path);
  const SafetensorsHeader header = read_header(file);
  StateDict state_dict;
  for (const TensorInfo& info : header.tensors) {
    Tensor tensor = Tensor::empty(info.dtype, info.shape);
    file.read(header.data_offset + info.begin, bytes_of(tensor));
    state_dict.set(info.name, std::move(tensor));
  }
  return state_dict;
}

void save_safetensors(const StateDict& state_dict, const std::filesystem::path& path,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<TensorInfo> infos;
  infos.reserve(state_dict.size());
  for (const auto& [name, tensor] : state_dict) {
    infos.push_back({.name = name, .dtype = tensor.dtype(), .shape = tensor.shape()});
  }
  const NewHeader start = make_safetensors_header(std::move(infos), metadata);

  AtomicFile atomic(path, /*sync=*/true);
  const File& file = atomic.file();
  file.preallocate(file_size(start.header));
  file.write(0, std::as_bytes(std::span(start.bytes)));
  for (const TensorInfo& info : start.header.tensors) {
    const Tensor& tensor = state_dict.at(info.name);
    file.write(start.header.data_offset + info.begin, {tensor.data(), tensor.byte_count()});
  }
  atomic.commit();
}

}  // namespace mxferry
