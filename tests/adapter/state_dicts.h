#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "mxferry/tensor.h"
#include "mxfp4/reference.h"

// State dicts for the tests of the adapter. Everywhere the hidden size differs from the
// intermediate size, so that a wrong orientation shows.
namespace mxferry::internal::testing {

inline constexpr std::int64_t kExperts = 3;
inline constexpr std::int64_t kHidden = 64;
inline constexpr std::int64_t kIntermediate = 96;

// U8, its content depending on the seed, every byte possible.
inline Tensor bytes(Shape shape, std::uint32_t seed) {
  Tensor tensor = Tensor::empty(DType::U8, std::move(shape));
  for (std::int64_t i = 0; i < tensor.element_count(); ++i) {
    seed = seed * 1664525u + 1013904223u;
    tensor.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(seed >> 24);
  }
  return tensor;
}

inline Tensor filled(Shape shape, std::uint8_t byte) {
  Tensor tensor = Tensor::empty(DType::U8, std::move(shape));
  std::memset(tensor.data(), byte, tensor.byte_count());
  return tensor;
}

inline bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.byte_count() == 0 || std::memcmp(a.data(), b.data(), a.byte_count()) == 0);
}

// [experts, in, out], weight by weight from the definition of the format.
inline Tensor decoded(const Tensor& blocks, const Tensor& scales, DType dtype) {
  const Shape& shape = blocks.shape();
  const std::int64_t rows = shape[1];
  const std::int64_t block_weights = shape[3] * 2;
  const std::int64_t inputs = shape[2] * block_weights;
  Tensor dense = Tensor::empty(dtype, {shape[0], inputs, rows});
  for (std::int64_t i = 0; i < dense.element_count(); ++i) {
    const std::int64_t row = i % rows;
    const std::int64_t input = i / rows % inputs;
    const std::int64_t expert_row = i / rows / inputs * rows + row;
    const std::int64_t weight = expert_row * inputs + input;
    const std::uint8_t byte = blocks.as<std::uint8_t>()[weight / 2];
    const std::uint8_t scale = scales.as<std::uint8_t>()[weight / block_weights];
    const int code = weight % 2 == 0 ? byte & 15 : byte >> 4;
    const std::uint32_t value =
        mxfp4::reference::round_to(dtype, mxfp4::reference::exact_value(scale, code));
    if (dtype == DType::F32) {
      dense.as<std::uint32_t>()[i] = value;
    } else {
      dense.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(value);
    }
  }
  return dense;
}

inline std::string layer(std::int64_t number) {
  return "model.layers." + std::to_string(number) + ".";
}

inline constexpr const char* kGateUp = "mlp.experts.gate_up_proj";
inline constexpr const char* kDown = "mlp.experts.down_proj";

// One layer of a packed Hugging Face checkpoint, its tensors in alphabetical order.
inline void add_packed_layer(StateDict& dict, std::int64_t number) {
  const std::string prefix = layer(number);
  const auto seed = static_cast<std::uint32_t>(number) * 16;
  const std::int64_t groups_in = kHidden / 32;
  const std::int64_t groups_out = kIntermediate / 32;
  dict.set(prefix + "input_layernorm.weight", Tensor::empty(DType::BF16, {kHidden}));
  dict.set(prefix + kDown + "_bias", Tensor::empty(DType::BF16, {kExperts, kHidden}));
  dict.set(prefix + kDown + "_blocks", bytes({kExperts, kHidden, groups_out, 16}, seed + 1));
  dict.set(prefix + kDown + "_scales", bytes({kExperts, kHidden, groups_out}, seed + 2));
  dict.set(prefix + kGateUp + "_bias", Tensor::empty(DType::BF16, {kExperts, 2 * kIntermediate}));
  dict.set(prefix + kGateUp + "_blocks",
           bytes({kExperts, 2 * kIntermediate, groups_in, 16}, seed + 3));
  dict.set(prefix + kGateUp + "_scales", bytes({kExperts, 2 * kIntermediate, groups_in}, seed + 4));
  dict.set(prefix + "mlp.router.bias", Tensor::empty(DType::BF16, {kExperts}));
  dict.set(prefix + "mlp.router.weight", Tensor::empty(DType::BF16, {kExperts, kHidden}));
  dict.set(prefix + "self_attn.sinks", Tensor::empty(DType::BF16, {8}));
}

// Whether both hold the same names in the same order, and the same storage.
inline bool is_untouched(const StateDict& dict, const StateDict& before) {
  if (dict.names() != before.names()) return false;
  for (const auto& [name, tensor] : before) {
    if (dict.at(name).data() != tensor.data()) return false;
  }
  return true;
}

}  // namespace mxferry::internal::testing
