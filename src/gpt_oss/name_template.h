#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mxferry/dtype.h"

namespace mxferry::internal {

// A layout may store one parameter as several tensors. Its table has one name for all of them, with
// fields for what differs:
//   {E}         the expert's number: each expert has its own tensor
//   {gate|up}   "gate" for the even rows of the gate and up projection, "up" for the odd rows
//    (U8) (U32) at the end: no text, but the dtype. A row's blocks follow one another in the last
//               dimension, as elements of this dtype (without the field: U8 [..., groups, 16]).
// stacks.h makes one tensor of them, whose name is the template.
bool has_fields(std::string_view name_template) noexcept;
bool has_expert_field(std::string_view name_template) noexcept;
bool has_half_field(std::string_view name_template) noexcept;
// The dtype that a field asks for.
std::optional<DType> dtype_field(std::string_view name_template) noexcept;

// The place of one tensor in a parameter that several tensors store.
struct Member {
  std::string name_template = {};
  std::int64_t expert = 0;  // 0 without the field
  std::int64_t half = 0;    // 0: the even rows, or all of them; 1: the odd rows
};

// nullopt if no layout's table has a template with fields that fits the name, after a layer's
// number. Where several do, one
// that fits the tensor's dtype takes precedence; no dtype fits any. Numbers have no leading zeros.
std::optional<Member> parse_member(std::string_view name, std::optional<DType> dtype);

// The name of a tensor; the inverse.
std::string member_name(const Member& member);

}  // namespace mxferry::internal
