#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <string_view>

#include "commands.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"
#include "mxferry/version.h"

namespace mxferry::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  mxferry convert openai/gpt-oss-20b out --to nemo
  mxferry inspect out
  mxferry sample tiny-gpt-oss

`mxferry COMMAND --help` explains each command.)";

// An Error, so that a wrong command line is reported like everything else, with --json too.
Error usage_error(const CLI::ParseError& error) {
  return {ErrorCode::invalid_argument, {.problem = error.what(), .advice = "See mxferry --help"}};
}

int run(const Chosen& chosen) {
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

int main(int argc, char** argv) {
  CLI::App app(
      "mxferry moves gpt-oss checkpoints between MXFP4 and 16/32-bit weights and between the names "
      "of "
      "training and serving frameworks.");
  Chosen chosen;
  app.name("mxferry");
  app.footer(kExamples);
  app.set_version_flag("--version",
                       fmt::format("mxferry {} ({})", MXFERRY_VERSION, active_target()));
  app.require_subcommand(1);
  add_convert_command(app, chosen);
  add_inspect_command(app, chosen);
  add_sample_command(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    // The parse may have ended before it came to --json.
    const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
    chosen.output.json =
        std::ranges::any_of(arguments, [](std::string_view a) { return a == "--json"; });
    print_error(chosen.command, usage_error(error), chosen.output);
    return kUsage;
  }
  return run(chosen);
}

}  // namespace

void add_output_options(CLI::App& command, Chosen& chosen) {
  command.add_flag("--json", chosen.output.json,
                   "Print one JSON object to stdout and nothing else");
  command.add_flag("--quiet,-q", chosen.output.quiet, "Print nothing but warnings and errors");
}

}  // namespace mxferry::cli

int main(int argc, char** argv) {
  return mxferry::cli::main(argc, argv);
}
