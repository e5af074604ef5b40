#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "checkpoint/safetensors_header.h"

namespace mxferry::internal::testing {

// Eight bytes, little-endian.
inline std::string length_bytes(std::uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xFF);
  return bytes;
}

// A whole file: a header with its length, and data_size zeros.
inline std::string file_bytes(std::string_view header, std::size_t data_size) {
  return length_bytes(header.size()) + std::string(header) + std::string(data_size, '\0');
}

inline SafetensorsHeader parse(std::string_view text) {
  return parse_safetensors_header(std::string(text), "model.safetensors");
}

}  // namespace mxferry::internal::testing
