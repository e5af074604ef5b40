// The header of a new file.
#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "checkpoint/safetensors_header.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

constexpr std::size_t kAlignment = 8;  // of the data section

// Escapes what JSON requires and nothing else, as serde_json does.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump();
}

void append_member(std::string& json, const std::string& key, std::string_view value) {
  if (json.back() != '{') json += ',';
  json += quoted(key);
  json += ':';
  json += value;
}

std::string metadata_json(const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  for (const auto& [key, value] : metadata) append_member(json, key, quoted(value));
  return json += '}';
}

std::string tensor_json(const TensorInfo& tensor) {
  std::string json = R"({"dtype":")" + std::string(name(tensor.dtype)) + R"(","shape":[)";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i > 0) json += ',';
    json += std::to_string(tensor.shape[i]);
  }
  return json + R"(],"data_offsets":[)" + std::to_string(tensor.begin) + ',' +
         std::to_string(tensor.end) + "]}";
}

std::string header_json(const SafetensorsHeader& header) {
  std::string json = "{";
  if (!header.metadata.empty()) {
    append_member(json, "__metadata__", metadata_json(header.metadata));
  }
  for (const TensorInfo& tensor : header.tensors) {
    append_member(json, tensor.name, tensor_json(tensor));
  }
  json += '}';
  json.append((kAlignment - json.size() % kAlignment) % kAlignment, ' ');
  return json;
}

[[noreturn]] void refuse_name(const std::string& name, const char* problem) {
  throw Error(ErrorCode::invalid_argument, {.problem = problem, .tensor = name});
}

void check_texts(const SafetensorsHeader& header) {
  for (const TensorInfo& tensor : header.tensors) {
    if (tensor.name == "__metadata__") refuse_name(tensor.name, "the format reserves this name");
    if (!is_utf8(tensor.name)) refuse_name(tensor.name, "the name is not UTF-8 text");
  }
  for (const auto& [key, value] : header.metadata) {
    if (!is_utf8(key) || !is_utf8(value)) {
      throw Error(ErrorCode::invalid_argument,
                  {.problem = "the metadata is not UTF-8 text", .found = key});
    }
  }
}

void check_no_name_twice(const std::vector<TensorInfo>& tensors) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) names.emplace_back(tensor.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end()) refuse_name(std::string(*twice), "two tensors have this name");
}

// The length of the header, little-endian in 8 bytes, and the header.
std::string with_length(const std::string& json) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) {
    bytes += static_cast<char>(json.size() >> shift & 0xFF);
  }
  return bytes += json;
}

}  // namespace

NewHeader make_safetensors_header(std::vector<TensorInfo> tensors,
                                  std::map<std::string, std::string> metadata) {
  SafetensorsHeader header{.tensors = std::move(tensors), .metadata = std::move(metadata)};
  check_texts(header);
  check_no_name_twice(header.tensors);
  std::ranges::sort(header.tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  for (TensorInfo& tensor : header.tensors) {
    tensor.begin = header.data_size;
    tensor.end = tensor.begin + byte_count(tensor, {});
    header.data_size = tensor.end;
  }
  const std::string json = header_json(header);
  if (json.size() > kLargestHeader) {
    throw Error(ErrorCode::header_too_large,
                {.problem = "the header would be larger than the format allows",
                 .expected = "at most " + std::to_string(kLargestHeader) + " bytes",
                 .found = std::to_string(json.size()),
                 .advice = "Write the tensors to several files"});
  }
  std::string bytes = with_length(json);
  header.data_offset = bytes.size();
  return {std::move(header), std::move(bytes)};
}

}  // namespace mxferry::internal
