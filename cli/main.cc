#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "commands.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"
#include "mxferry/version.h"
#include "size.h"
#include "streams.h"

namespace mxferry::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  mxferry convert openai/gpt-oss-20b out --to nemo
  mxferry inspect out
  mxferry verify gpt-oss-20b out
  mxferry sample tiny-gpt-oss

`mxferry COMMAND --help` explains each command.)";

std::string version_text(bool verbose) {
  std::string text = fmt::format("mxferry {} ({})", MXFERRY_VERSION, active_target());
  if (!verbose) return text;
  for (const LibraryVersion& library : linked_libraries()) {
    text += fmt::format("\n  {:<14} {}", library.name, library.version);
  }
  return text + fmt::format("\n  {:<14} {}", "CLI11", CLI11_VERSION);
}

// The command that an invalid command line names; empty if it names none.
std::string command_name(const CLI::App& app) {
  const std::vector<CLI::App*> commands = app.get_subcommands();
  return commands.empty() ? "" : commands.front()->get_name();
}

// Makes an Error, so that an invalid command line is reported like any other failure, also with
// --json.
Error usage_error(const CLI::ParseError& error, const std::string& command) {
  return {ErrorCode::invalid_argument,
          {.problem = error.what(),
           .advice = "See mxferry " + command + (command.empty() ? "" : " ") + "--help"}};
}

int run_alone(const Chosen& chosen) {
  try {
    return chosen.run();
  } catch (const Error& error) {
    print_error(chosen.command, error, chosen.output);
    return exit_code(error.code());
  } catch (const std::bad_alloc&) {
    print_error(chosen.command,
                {ErrorCode::not_enough_memory, {.problem = "the system has no memory left"}},
                chosen.output);
    return kLimit;
  } catch (const std::exception& error) {
    print_error(chosen.command, {ErrorCode::io_error, {.problem = error.what()}}, chosen.output);
    return kSystem;
  }
}

// Raises the limit on open files: all files of a checkpoint are open at once, and a large run's
// ranks write more of them than the usual limit.
void allow_many_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

// If this rank fails, ends all ranks.
int run(const Chosen& chosen) {
  const int code = run_alone(chosen);
  if (code != kDone && chosen.ranks) chosen.ranks->end_all(code);
  return code;
}

int main(int argc, char** argv) {
  allow_many_files();
  CLI::App app(
      "mxferry moves gpt-oss checkpoints between MXFP4 and 16/32-bit weights, and\n"
      "between the names of training and serving frameworks.");
  Chosen chosen;
  chosen.argv = argv;
  app.name("mxferry");
  app.footer(kExamples);
  // Found before parsing, because --version ends it before all flags are read.
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  const auto is_given = [&](std::string_view option) {
    return std::ranges::find(arguments, option) != arguments.end();
  };
  bool verbose = is_given("--verbose");
  app.set_version_flag("--version", version_text(verbose));
  app.add_flag("--verbose", verbose, "With --version: the libraries as well");
  app.require_subcommand(1);
  add_convert_command(app, chosen);
  add_finish_command(app, chosen);
  add_inspect_command(app, chosen);
  add_sample_command(app, chosen);
  add_verify_command(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    // The parse may have failed before it reached --json.
    chosen.output.json = is_given("--json");
    chosen.command = command_name(app);
    print_error(chosen.command, usage_error(error, chosen.command), chosen.output);
    return kUsage;
  }
  return run(chosen);
}

// Failing to print the result is a failure, too.
int main_with_streams(int argc, char** argv) {
  open_closed_streams();
  int code = kSystem;
  bool is_told = false;
  try {
    code = main(argc, argv);
    is_told = flush_stdout();
  } catch (const std::exception&) {
    is_told = false;  // Printing throws if the stream cannot be written.
  }
  if (is_told) return code;
  std::fputs("mxferry: cannot write to stdout\n", stderr);
  return kSystem;
}

}  // namespace

void add_size_option(CLI::App& command, const std::string& name, std::uint64_t& size,
                     const std::string& help) {
  const auto assign = [&size, name](const std::string& text) {
    const std::optional<std::uint64_t> parsed = parse_size(text);
    if (!parsed)
      throw CLI::ValidationError(name, "must be a size such as 500MB or 2GiB, not '" + text + "'");
    size = *parsed;
  };
  command.add_option_function<std::string>(name, assign, help)->type_name("SIZE");
}

void add_output_options(CLI::App& command, Chosen& chosen) {
  command.add_flag("--json", chosen.output.json,
                   "Print one JSON object to stdout and nothing else");
  command.add_flag("--quiet,-q", chosen.output.quiet, "Print nothing but warnings and errors");
}

}  // namespace mxferry::cli

int main(int argc, char** argv) {
  return mxferry::cli::main_with_streams(argc, argv);
}
