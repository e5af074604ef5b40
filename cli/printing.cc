#include "printing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace mxferry::cli {

using Json = nlohmann::ordered_json;

int exit_code(ErrorCode code) noexcept {
  switch (category(code)) {
    case ErrorCategory::usage:
      return kUsage;
    case ErrorCategory::source:
      return kSource;
    case ErrorCategory::system:
      return kSystem;
    case ErrorCategory::limit:
      return kLimit;
    case ErrorCategory::cancelled:
      return kInterrupted;
  }
  return kSystem;
}

void print_json(const std::string& command, const Json& fields) {
  Json object = {{"schema_version", kSchemaVersion}, {"command", command}};
  object.update(fields);
  constexpr int kIndent = 2;
  constexpr bool kEscapeNonAscii = true;  // escapes C1 controls and bidi overrides, too
  fmt::print("{}\n", object.dump(kIndent, ' ', kEscapeNonAscii, Json::error_handler_t::replace));
}

void print_error(const std::string& command, const Error& error, const OutputOptions& output) {
  if (!output.json) {
    const std::string rank = output.rank ? fmt::format("rank {}: ", *output.rank) : "";
    fmt::print(stderr, "{}", wrapped("mxferry: ", 9, rank + error.what()));
    return;
  }
  const ErrorDetails& details = error.details();
  Json fields = {{"code", name(error.code())},
                 {"exit_code", exit_code(error.code())},
                 {"message", error.what()}};
  const std::pair<const char*, std::string> optional[] = {
      {"file", details.file.string()}, {"tensor", details.tensor}, {"expected", details.expected},
      {"found", details.found},        {"advice", details.advice},
  };
  for (const auto& [key, value] : optional) {
    if (!value.empty()) fields[key] = value;
  }
  print_json(command, {{"ok", false}, {"error", fields}});
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string human_seconds(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string shortened(const std::string& text) {
  constexpr std::size_t kLongest = 400;
  constexpr std::size_t kEnd = 80;
  if (text.size() <= kLongest) return text;
  const std::string middle = fmt::format("...({} bytes in all)...", text.size());
  return printable(text.substr(0, kLongest - kEnd)) + middle +
         printable(text.substr(text.size() - kEnd));
}

std::string wrapped(const std::string& first, int indent, const std::string& text) {
  constexpr std::size_t kWidth = 80;
  std::string out = first;
  std::size_t column = first.size();
  std::size_t begin = 0;
  bool fresh = true;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = shortened(text.substr(begin, end - begin));
    const std::size_t length = word.size();
    if (!fresh && column + 1 + length > kWidth) {
      out += "\n" + std::string(static_cast<std::size_t>(indent), ' ');
      column = static_cast<std::size_t>(indent);
    } else if (!fresh) {
      out += ' ';
      ++column;
    }
    out += word;
    column += length;
    begin = end + 1;
    fresh = false;
  }
  return out + "\n";
}

void print_names(const char* heading, const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 8;
  if (names.empty()) return;
  fmt::print("  {}\n", heading);
  for (std::size_t i = 0; i < std::min(kMost, names.size()); ++i) {
    fmt::print("    {}\n", shortened(printable(names[i])));
  }
  if (names.size() > kMost) fmt::print("    and {} more\n", names.size() - kMost);
}

void print_read(std::uint64_t bytes, double seconds) {
  fmt::print("Read {} in {:.2f} s: {:.2f} GB/s.\n", human_bytes(bytes), seconds,
             static_cast<double>(bytes) / std::max(seconds, 1e-9) / 1e9);
}

std::string describe(const Problem& problem) {
  std::string text;
  if (!problem.file.empty()) text += problem.file + ": ";
  if (!problem.tensor.empty()) text += "tensor '" + problem.tensor + "': ";
  const bool is_fatal = problem.severity == Severity::fatal;
  const std::string severity = is_fatal ? "error" : name(problem.severity);
  return wrapped("  " + severity + ": ", 4, printable(text + problem.text));
}

Json to_json(const Problem& problem) {
  Json json = {{"severity", name(problem.severity)}, {"code", name(problem.code)}};
  if (!problem.file.empty()) json["file"] = problem.file;
  if (!problem.tensor.empty()) json["tensor"] = problem.tensor;
  json["text"] = problem.text;
  return json;
}

Json to_json(const Difference& d) {
  return {{"weights", d.weights},
          {"different", d.different},
          {"zero_signs", d.zero_signs},
          {"blocks", d.blocks},
          {"blocks_changed", d.blocks_changed},
          {"blocks_saturated", d.blocks_saturated},
          {"max_absolute_error", d.max_absolute_error},
          {"max_relative_error", d.max_relative_error},
          {"sqnr_db", std::isfinite(d.sqnr_db()) ? Json(d.sqnr_db()) : Json()}};
}

}  // namespace mxferry::cli
