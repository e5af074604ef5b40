#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "mxferry/difference.h"
#include "mxferry/error.h"
#include "mxferry/inspect.h"

namespace mxferry::cli {

// The version of all --json output. Incremented when a key changes its meaning or is removed.
inline constexpr int kSchemaVersion = 1;

// Output options, which every command has.
struct OutputOptions {
  bool json = false;
  bool quiet = false;
  // This process's rank, if several work together. Only rank 0 reports what all of them do.
  std::optional<int> rank = {};

  bool leaves_it_to_another() const noexcept { return rank.value_or(0) != 0; }
};

// Exit codes. A long run that signal N stopped ends with 128 + N.
inline constexpr int kDone = 0;
inline constexpr int kDiffers = 1;
inline constexpr int kUsage = 2;
inline constexpr int kSource = 3;
inline constexpr int kSystem = 4;
inline constexpr int kLimit = 5;
inline constexpr int kInterrupted = 130;

int exit_code(ErrorCode code) noexcept;

// Prints one JSON object to stdout, with the schema version and the command's name in front.
void print_json(const std::string& command, const nlohmann::ordered_json& fields);

// Prints an error: as text to stderr, or as the JSON object with --json.
void print_error(const std::string& command, const Error& error, const OutputOptions& output);

// "423.0 MB", with powers of 1000.
std::string human_bytes(std::uint64_t bytes);

// 9216000 as "9,216,000".
std::string grouped(std::uint64_t number);

// "0:07", "1:02:03".
std::string human_seconds(double seconds);

// Cuts text of more than 400 bytes (five lines) to its beginning and end: names are untrusted.
std::string shortened(const std::string& text);

// Text broken into lines of at most 80 columns; the first starts with `first`, the others with
// `indent` spaces.
std::string wrapped(const std::string& first, int indent, const std::string& text);

// Prints a heading and the first few names, one per line; nothing if there are none.
void print_names(const char* heading, const std::vector<std::string>& names);

// "Read 2.1 GB in 0.31 s: 6.89 GB/s."
void print_read(std::uint64_t bytes, double seconds);

// "warning: file: tensor 'x': text", wrapped.
std::string describe(const Problem& problem);
nlohmann::ordered_json to_json(const Problem& problem);
// An SQNR that is not finite is null.
nlohmann::ordered_json to_json(const Difference& difference);

}  // namespace mxferry::cli
