#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mxferry {

// Every dtype of the safetensors format, in the order of its reference implementation (which sorts
// the tensors of a file by it). Source: safetensors 0.8, `enum Dtype`.
enum class DType : std::uint8_t {
  BOOL,
  F4,
  F6_E2M3,
  F6_E3M2,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64,
};

// Bits of one element: 4 to 64. Only the F4 and F6 types are not whole bytes.
int bits(DType dtype) noexcept;

// The name in a safetensors header, for example "BF16".
std::string_view name(DType dtype) noexcept;

// The inverse of name(); nullopt for a name that the format does not have.
std::optional<DType> parse_dtype(std::string_view name) noexcept;

// Whether dense weights may be stored in this dtype: BF16, F16 or F32.
constexpr bool is_dense_float(DType dtype) noexcept {
  return dtype == DType::BF16 || dtype == DType::F16 || dtype == DType::F32;
}

}  // namespace mxferry
