#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace mxferry::fuzz {

using Input = std::span<const std::uint8_t>;

// Every target takes any bytes, and ends the process where the library breaks a promise.
void config(Input input);
void decode(Input input);
void encode(Input input);
void file(Input input);
void header(Input input);
void hub_name(Input input);
void index(Input input);
void plan(Input input);
void regex(Input input);
void size(Input input);
void streamed(Input input);
void text(Input input);

struct NamedTarget {
  std::string_view name;
  void (*run)(Input input);
};

inline constexpr std::array<NamedTarget, 12> kTargets = {{{"config", config},
                                                          {"decode", decode},
                                                          {"encode", encode},
                                                          {"file", file},
                                                          {"header", header},
                                                          {"hub_name", hub_name},
                                                          {"index", index},
                                                          {"plan", plan},
                                                          {"regex", regex},
                                                          {"size", size},
                                                          {"streamed", streamed},
                                                          {"text", text}}};

}  // namespace mxferry::fuzz
