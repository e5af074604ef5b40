#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "commands.h"
#include "long_run.h"
#include "mxferry/convert.h"
#include "mxferry/error.h"

namespace mxferry::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  mxferry finish out
      after `mxferry convert SRC out --rank N --world 8` for N = 0 to 7

Exit codes: 0 done (or done before), 2 a part is still at work, 3 a part is not
done or a file not whole, 4 a system call failed, 128 + N stopped by signal N.)";

void print_report(const FinishReport& report, const std::filesystem::path& destination,
                  const OutputOptions& output) {
  if (output.json) {
    print_json(
        "finish",
        {{"ok", true}, {"parts", report.parts}, {"files", report.files}, {"bytes", report.bytes}});
  } else if (!output.quiet) {
    const std::string path = printable(destination.string());
    if (report.parts == 0) {
      fmt::print("{} is a finished checkpoint: nothing was left to do.\n", path);
    } else {
      fmt::print("{}: {} file(s), {}, of {} part(s). Finished.\n", path, report.files,
                 human_bytes(report.bytes), report.parts);
    }
  }
}

int run(const std::filesystem::path& destination, const OutputOptions& output) {
  FinishReport report;
  const auto work = [&](const LongRun& long_run) {
    report = finish_conversion(destination, long_run.stop);
  };
  return run_long("finish", output, work, [&] {
    print_report(report, destination, output);
    return kDone;
  });
}

}  // namespace

void add_finish_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command =
      app.add_subcommand("finish", "Make a checkpoint of all parts of a conversion");
  const auto destination = std::make_shared<std::filesystem::path>();
  command->footer(kExamples);
  command->add_option("DST", *destination, "Folder that `convert --rank` wrote to")->required();
  add_output_options(*command, chosen);
  command->callback([&chosen, destination] {
    chosen.command = "finish";
    chosen.run = [&chosen, destination] { return run(*destination, chosen.output); };
  });
}

}  // namespace mxferry::cli
