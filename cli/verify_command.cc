#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "commands.h"
#include "long_run.h"
#include "mxferry/error.h"
#include "mxferry/verify.h"
#include "verify_manifest.h"

namespace mxferry::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples = R"(Examples:
  mxferry verify gpt-oss-20b out
      whether a conversion kept every value, whatever the layouts and dtypes
  mxferry verify finetuned finetuned-mxfp4 --html report.html
      what quantizing did, as a page with heat maps
  mxferry verify gpt-oss-20b out --json | jq .verdict
  mxferry verify --manifest out
      whether every file is as `convert --checksum` wrote it
  mxferry verify --manifest openai/gpt-oss-20b
      whether a download is what the Hub has

Zeros of either sign are equal, and counted apart. SQNR is the signal's power by
that of the error, in dB: 6 dB more is half the error.
Exit codes: 0 the same parameters with the same values, or every file intact,
1 they differ, or files are damaged, 2 usage, 3 something wrong in A, B or DIR,
4 a system call failed, 5 not enough memory,
128 + N stopped by signal N (130 for Ctrl-C).)";

struct Arguments {
  VerifyOptions options;
  std::filesystem::path html;
  std::optional<std::string> manifest;
};

Json parameter_json(const ComparedParameter& parameter) {
  Json json = {{"a", parameter.tensor_a},
               {"b", parameter.tensor_b},
               {"kind", parameter.kind},
               {"layer", parameter.layer ? Json(*parameter.layer) : Json()},
               {"shape", parameter.shape},
               {"codec_a", parameter.codec_a},
               {"codec_b", parameter.codec_b},
               {"bytes_identical", parameter.bytes_identical},
               {"values_identical", parameter.total.different == 0},
               {"transposed", parameter.transposed},
               {"halves", parameter.halves}};
  json.update(to_json(parameter.total));
  if (parameter.worst) {
    json["worst"] = {{"expert", parameter.worst->expert},
                     {"row", parameter.worst->row},
                     {"column", parameter.worst->column},
                     {"a", parameter.worst->a},
                     {"b", parameter.worst->b}};
  }
  if (!parameter.experts.empty()) {
    json["experts"] = Json::array();
    for (const Difference& expert : parameter.experts) json["experts"].push_back(to_json(expert));
  }
  return json;
}

void print_report_json(const VerifyReport& report) {
  Json parameters = Json::array();
  for (const ComparedParameter& parameter : report.parameters) {
    parameters.push_back(parameter_json(parameter));
  }
  Json warnings = Json::array();
  for (const Problem& problem : report.warnings) warnings.push_back(to_json(problem));
  print_json("verify", {{"ok", true},
                        {"identical", report.identical()},
                        {"verdict", report.verdict()},
                        {"a", report.a.string()},
                        {"b", report.b.string()},
                        {"layout_a", std::string(name(report.layout_a))},
                        {"layout_b", std::string(name(report.layout_b))},
                        {"total", to_json(report.total)},
                        {"parameters", parameters},
                        {"only_a", report.only_a},
                        {"only_b", report.only_b},
                        {"mismatched", report.mismatched},
                        {"scales_a", report.scales_a},
                        {"scales_b", report.scales_b},
                        {"warnings", warnings},
                        {"bytes_read", report.bytes_read},
                        {"seconds", report.seconds}});
}

void print_total(const VerifyReport& report) {
  const Difference& total = report.total;
  fmt::print("  {} parameters, {} weights: {} differ\n", report.parameters.size(),
             grouped(total.weights), grouped(total.different));
  if (total.blocks > 0) {
    fmt::print("  {} blocks: {} changed, {} saturated\n", grouped(total.blocks),
               grouped(total.blocks_changed), grouped(total.blocks_saturated));
  }
  if (total.zero_signs > 0) {
    fmt::print("  {} zeros have the other sign\n", grouped(total.zero_signs));
  }
  if (total.different == 0) return;
  fmt::print("  largest error {:.3g}, largest relative error {:.3g}\n", total.max_absolute_error,
             total.max_relative_error);
  fmt::print("  SQNR of all weights {:.1f} dB\n", total.sqnr_db());
}

// Prints the parameters with the lowest SQNR, two lines each.
void print_worst(const VerifyReport& report) {
  constexpr std::size_t kMost = 5;
  std::vector<const ComparedParameter*> worst;
  for (const ComparedParameter& parameter : report.parameters) {
    if (parameter.total.different > 0) worst.push_back(&parameter);
  }
  if (worst.empty()) return;
  std::ranges::stable_sort(worst, {}, [](const ComparedParameter* parameter) {
    return parameter->total.ranked_sqnr_db();
  });
  fmt::print("  {} parameters differ, the worst:\n", worst.size());
  for (std::size_t i = 0; i < std::min(kMost, worst.size()); ++i) {
    const ComparedParameter& p = *worst[i];
    fmt::print("    {}\n", shortened(printable(p.tensor_b)));
    fmt::print("      {} -> {}, {:.1f} dB{}", p.codec_a, p.codec_b, p.total.sqnr_db(),
               p.transposed ? ", TRANSPOSED"
               : p.halves   ? ", HALVES"
                            : "");
    if (p.worst) {
      fmt::print(", largest error at {}row {}, column {}: {:.4g} -> {:.4g}",
                 p.shape.size() == 3 ? fmt::format("expert {}, ", p.worst->expert) : "",
                 p.worst->row, p.worst->column, p.worst->a, p.worst->b);
    }
    fmt::print("\n");
  }
}

void print_report(const VerifyReport& report) {
  for (const Problem& problem : report.warnings) fmt::print(stderr, "{}", describe(problem));
  fmt::print("A  {}\n",
             printable(fmt::format("{} ({})", report.a.string(), name(report.layout_a))));
  fmt::print("B  {}\n",
             printable(fmt::format("{} ({})", report.b.string(), name(report.layout_b))));
  fmt::print("{}", wrapped("", 0, printable(report.verdict() + ".")));
  print_total(report);
  print_names("only in A:", report.only_a);
  print_names("only in B:", report.only_b);
  print_names("of different shape:", report.mismatched);
  print_worst(report);
  print_read(report.bytes_read, report.seconds);
}

// Gives the page its name only when it is complete.
void write_page(const std::filesystem::path& path, const std::string& page) {
  std::filesystem::path partial = path;
  partial += ".partial";
  std::ofstream file(partial, std::ios::binary);
  file << page;
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(partial, path, error);
  if (file && !error) return;
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  throw Error(ErrorCode::io_error, {.problem = "cannot write the page", .file = path});
}

int run(Arguments& arguments, const OutputOptions& output) {
  VerifyOptions& options = arguments.options;
  if (arguments.manifest) {
    return run_verify_manifest({.source = *arguments.manifest, .threads = options.threads}, output);
  }
  VerifyReport report;
  const auto work = [&](const LongRun& long_run) {
    options.stop = long_run.stop;
    options.progress = long_run.progress;
    report = verify(options);
  };
  return run_long("verify", output, work, [&] {
    if (!arguments.html.empty()) write_page(arguments.html, html_report(report));
    if (output.json) {
      print_report_json(report);
    } else if (!output.quiet) {
      print_report(report);
    }
    return report.identical() ? kDone : kDiffers;
  });
}

}  // namespace

void add_verify_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command =
      app.add_subcommand("verify", "Compare two checkpoints of any layouts and dtypes");
  const auto arguments = std::make_shared<Arguments>();
  VerifyOptions& o = arguments->options;
  command->footer(kExamples);
  CLI::Option* const a =
      command->add_option("A", o.a, "Checkpoint folder, or Hub name in the local cache");
  CLI::Option* const b = command->add_option("B", o.b, "What is compared with it")->needs(a);
  CLI::Option* const html =
      command->add_option("--html", arguments->html, "Also write the report as one page")
          ->type_name("FILE");
  CLI::Option* const manifest = command
                                    ->add_option("--manifest", arguments->manifest,
                                                 "Compare DIR's files with its SHA256SUMS or, of\n"
                                                 "a download, with the hashes of the Hub")
                                    ->type_name("DIR")
                                    ->excludes(a)
                                    ->excludes(b)
                                    ->excludes(html);
  command->add_option("--threads", o.threads, "Threads [all available]")
      ->type_name("N")
      ->check(CLI::Range(1, 4096).description(""));
  add_size_option(*command, "--max-memory", o.max_memory, "Memory that may be used [1GiB]");
  add_name_option(*command, "--orientation-a", o.orientation_a, parse_axis_order, "out_in|in_out",
                  "How square expert weights of A lie, if unknown");
  add_name_option(*command, "--orientation-b", o.orientation_b, parse_axis_order, "out_in|in_out",
                  "The same of B");
  add_output_options(*command, chosen);
  command->callback([&chosen, arguments, command, b, manifest] {
    // Checked by hand: with excludes(), the help would list them all in one line.
    for (const char* const option : {"--max-memory", "--orientation-a", "--orientation-b"}) {
      if (manifest->empty() || command->get_option(option)->empty()) continue;
      throw CLI::ExcludesError(option, "--manifest");
    }
    if (b->empty() && manifest->empty()) throw CLI::RequiredError("A and B, or --manifest");
    chosen.command = "verify";
    chosen.run = [&chosen, arguments] { return run(*arguments, chosen.output); };
  });
}

}  // namespace mxferry::cli
