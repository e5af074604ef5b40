#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "printing.h"
#include "ranks.h"

namespace mxferry::cli {

// What main() runs after parsing: the chosen command, its name and its output options.
struct Chosen {
  char** argv = nullptr;         // this process's
  std::unique_ptr<Ranks> ranks;  // set if this process is one of several
  std::string command;
  OutputOptions output;
  std::function<int()> run;  // returns the exit code; throws Error
};

void add_convert_command(CLI::App& app, Chosen& chosen);
void add_finish_command(CLI::App& app, Chosen& chosen);
void add_inspect_command(CLI::App& app, Chosen& chosen);
void add_sample_command(CLI::App& app, Chosen& chosen);
void add_verify_command(CLI::App& app, Chosen& chosen);

// Options that several commands share.
void add_output_options(CLI::App& command, Chosen& chosen);
void add_size_option(CLI::App& command, const std::string& name, std::uint64_t& size,
                     const std::string& help);

// Those that parse_layout() knows.
inline constexpr const char* kLayoutNames =
    "hf|nemo|original|torchtitan|unsloth|mlx|compressed-tensors";

// An option whose value is one of the names that parse() knows; `names` for the help and the error.
template <typename T, typename Parse>
CLI::Option* add_name_option(CLI::App& command, const std::string& flags, T& value, Parse parse,
                             const std::string& names, const std::string& help) {
  const auto assign = [=, &value](const std::string& text) {
    const auto parsed = parse(text);
    if (!parsed)
      throw CLI::ValidationError(flags, "must be one of " + names + ", not '" + text + "'");
    // In two steps: T may be optional itself.
    const auto& choice = *parsed;
    value = choice;
  };
  return command.add_option_function<std::string>(flags, assign, help)->type_name(names);
}

}  // namespace mxferry::cli
