#include "mxferry/layout.h"

#include <array>
#include <cstddef>

#include "gpt_oss/layout_table.h"

namespace mxferry {

namespace {

constexpr std::array<std::string_view, 4> kCodecNames = {"bf16", "f16", "f32", "mxfp4"};
constexpr std::array<std::string_view, 2> kAxisOrderNames = {"out_in", "in_out"};

template <typename Enum, std::size_t kCount>
std::optional<Enum> parse(const std::array<std::string_view, kCount>& names,
                          std::string_view name) noexcept {
  for (std::size_t i = 0; i < kCount; ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view name(Layout layout) noexcept {
  return internal::layout_table(layout).name;
}
std::string_view name(Codec codec) noexcept {
  return kCodecNames[static_cast<std::size_t>(codec)];
}
std::string_view name(AxisOrder order) noexcept {
  return kAxisOrderNames[static_cast<std::size_t>(order)];
}
std::optional<Layout> parse_layout(std::string_view name) noexcept {
  for (const internal::LayoutTable& table : internal::layout_tables()) {
    if (table.name == name) return table.layout;
  }
  return std::nullopt;
}
std::optional<Codec> parse_codec(std::string_view name) noexcept {
  return parse<Codec>(kCodecNames, name);
}
std::optional<AxisOrder> parse_axis_order(std::string_view name) noexcept {
  return parse<AxisOrder>(kAxisOrderNames, name);
}

std::optional<DType> dense_dtype(Codec codec) noexcept {
  switch (codec) {
    case Codec::bf16:
      return DType::BF16;
    case Codec::f16:
      return DType::F16;
    case Codec::f32:
      return DType::F32;
    case Codec::mxfp4:
      break;
  }
  return std::nullopt;
}

std::optional<Codec> dense_codec(DType dtype) noexcept {
  switch (dtype) {
    case DType::BF16:
      return Codec::bf16;
    case DType::F16:
      return Codec::f16;
    case DType::F32:
      return Codec::f32;
    default:
      return std::nullopt;
  }
}

}  // namespace mxferry
