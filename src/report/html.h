#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "mxferry/verify.h"

namespace mxferry::internal {

// Appends formatted text that needs no escaping.
template <typename... Args>
void append(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

// Any bytes as ASCII text for HTML, between tags or double quotes. Control characters, invalid
// UTF-8 and invisible characters are written as \xNN.
std::string html_text(std::string_view text);

// A name or path as a <code> element that may break after '.', '_' and '/'.
std::string html_name(std::string_view name);

// Human-readable numbers; plain ASCII that needs no escaping.
std::string percent(std::uint64_t part, std::uint64_t whole);      // "0.07 %"; 0 and 100 are exact
std::string count_of(std::uint64_t part, std::uint64_t whole);     // "612 of 9,216,000"
std::string plural(std::uint64_t number, std::string_view thing);  // "1 tensor", "2 tensors"
std::string human_bytes(std::uint64_t bytes);                      // "26.3 GB"
std::string human_seconds(double seconds);                         // "8.4 s", "2 min 5 s"

// "31.2 dB"; "exact" if no weight differs; words if the ratio is not meaningful.
std::string sqnr_text(const Difference& difference);

}  // namespace mxferry::internal
