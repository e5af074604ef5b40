#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace mxferry::internal::fuzz {

using Input = std::span<const std::uint8_t>;

// Every target takes any bytes, and ends the process where the library breaks a promise.
void chunks(Input input);
void config(Input input);
void decode(Input input);
void encode(Input input);
void file(Input input);
void header(Input input);
void hub_name(Input input);
void index(Input input);
void manifest(Input input);
void plan(Input input);
void regex(Input input);
void sharding(Input input);
void size(Input input);
void streamed(Input input);
void text(Input input);

struct NamedTarget {
  std::string_view name;
  void (*run)(Input input);
};

inline constexpr std::array<NamedTarget, 15> kTargets = {{{"chunks", chunks},
                                                          {"config", config},
                                                          {"decode", decode},
                                                          {"encode", encode},
                                                          {"file", file},
                                                          {"header", header},
                                                          {"hub_name", hub_name},
                                                          {"index", index},
                                                          {"manifest", manifest},
                                                          {"plan", plan},
                                                          {"regex", regex},
                                                          {"sharding", sharding},
                                                          {"size", size},
                                                          {"streamed", streamed},
                                                          {"text", text}}};

}  // namespace mxferry::internal::fuzz
