#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

#include "commands.h"
#include "mxferry/inspect.h"

namespace mxferry::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples = R"(Examples:
  mxferry inspect gpt-oss-20b
  mxferry inspect openai/gpt-oss-20b --json | jq .layout
  mxferry inspect out --strict && echo good

Exit codes: 0 a conversion could read it (with --strict: and no warnings),
3 something is wrong.)";

struct Arguments {
  std::string source;
  bool strict = false;
};

struct SizeField {
  const char* name;
  std::int64_t GptOssConfig::* field;
};
constexpr SizeField kSizes[] = {
    {"num_hidden_layers", &GptOssConfig::num_hidden_layers},
    {"num_local_experts", &GptOssConfig::num_local_experts},
    {"hidden_size", &GptOssConfig::hidden_size},
    {"intermediate_size", &GptOssConfig::intermediate_size},
    {"num_attention_heads", &GptOssConfig::num_attention_heads},
    {"num_key_value_heads", &GptOssConfig::num_key_value_heads},
    {"head_dim", &GptOssConfig::head_dim},
    {"vocab_size", &GptOssConfig::vocab_size},
};

std::size_t count(const InspectReport& report, Severity severity) {
  return static_cast<std::size_t>(
      std::ranges::count(report.problems, severity, &Problem::severity));
}

bool has(const InspectReport& report, Severity severity) {
  return count(report, severity) > 0;
}

Json kinds_json(const InspectReport& report) {
  Json kinds = Json::array();
  for (const InspectedKind& kind : report.kinds) {
    kinds.push_back({{"kind", kind.kind},
                     {"found", kind.found},
                     {"expected", kind.expected},
                     {"form", kind.form},
                     {"order", kind.order}});
  }
  return kinds;
}

Json totals_json(const std::map<std::string, TensorTotal>& totals) {
  Json json = Json::object();
  for (const auto& [key, total] : totals)
    json[key] = {{"tensors", total.tensors}, {"bytes", total.bytes}};
  return json;
}

void print_as_json(const InspectReport& report, bool ok) {
  Json config = Json::object();
  for (const SizeField& size : kSizes) config[size.name] = report.config.*size.field;
  Json shards = Json::array();
  for (const InspectedShard& shard : report.shards) {
    shards.push_back({{"file", shard.file}, {"tensors", shard.tensors}, {"bytes", shard.bytes}});
  }
  Json problems = Json::array();
  for (const Problem& problem : report.problems) problems.push_back(to_json(problem));
  print_json("inspect",
             {{"ok", ok},
              {"path", report.path.string()},
              {"layout", report.layout ? Json(std::string(name(*report.layout))) : Json()},
              {"layout_reason", report.layout_reason},
              {"attn", report.attn},
              {"packed", report.packed},
              {"writer", report.writer},
              {"programs", report.programs},
              {"kinds", kinds_json(report)},
              {"has_config", report.has_config},
              {"config", config},
              {"has_index", report.has_index},
              {"distributed", report.distributed},
              {"tensors", report.total.tensors},
              {"bytes", report.total.bytes},
              {"by_dtype", totals_json(report.by_dtype)},
              {"by_part", totals_json(report.by_part)},
              {"shards", shards},
              {"unknown", report.unknown},
              {"problems", problems}});
}

void print_kinds(const InspectReport& report) {
  if (report.kinds.empty()) return;
  fmt::print("  weights\n");
  for (const InspectedKind& kind : report.kinds) {
    const std::string form = kind.found == 0 ? "MISSING" : kind.form;
    fmt::print("    {:<31} {:>3} of {:<3} {}{}\n", kind.kind, kind.found, kind.expected, form,
               kind.order.empty() ? "" : ", " + kind.order);
  }
}

// A path as a shell reads it.
std::string shell_word(const std::string& path) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./@+=,:";
  const std::string shown = printable(path);
  const bool is_plain = shown.find_first_not_of(kPlain) == std::string::npos;
  return is_plain || shown.find('\'') != std::string::npos ? shown : "'" + shown + "'";
}

// What a reader of the page may do next.
void print_next(const InspectReport& report) {
  if (!report.layout || has(report, Severity::fatal)) return;
  const bool needs_repair = std::ranges::any_of(report.problems, [](const Problem& problem) {
    return problem.severity == Severity::note && problem.code != ErrorCode::not_a_checkpoint;
  });
  const bool is_mixed = std::ranges::any_of(report.kinds, [](const InspectedKind& kind) {
    return kind.form.find("MXFP4") != std::string::npos && kind.form != "MXFP4";
  });
  if (!report.programs.empty() && !needs_repair) {
    fmt::print("{}", wrapped("Loads in: ", 2, report.programs + "."));
  }
  const std::string command = "mxferry convert " + shell_word(report.path.string()) + " OUT --to ";
  if (needs_repair && !is_mixed) {
    fmt::print("{}", wrapped("Put right by: ", 2,
                             command + std::string(name(*report.layout)) +
                                 (report.attn == "te" ? " --attn te" : "") +
                                 (report.packed ? " --dtype mxfp4" : "")));
  } else {
    fmt::print("{}", wrapped("Convert with: ", 2, command + kLayoutNames + " [--dtype mxfp4]"));
  }
}

void print_totals(const char* title, const std::map<std::string, TensorTotal>& totals) {
  if (totals.empty()) return;
  fmt::print("  {}\n", title);
  for (const auto& [key, total] : totals) {
    fmt::print("    {:<12} {:>6} tensors {:>10}\n", key, total.tensors, human_bytes(total.bytes));
  }
}

void print_for_people(const InspectReport& report) {
  fmt::print("{}\n", printable(report.path.string()));
  if (!report.writer.empty()) fmt::print("  written by: {}\n", printable(report.writer));
  if (report.layout) {
    fmt::print(
        "{}", wrapped("  layout: ", 4,
                      printable(fmt::format("{}, {} experts{} (recognised by {})",
                                            name(*report.layout), report.packed ? "MXFP4" : "dense",
                                            report.attn == "te" ? ", Transformer Engine sinks" : "",
                                            report.layout_reason))));
    const GptOssConfig& c = report.config;
    fmt::print("  {}: {} layers, {} experts, hidden {}, intermediate {}\n",
               report.has_config ? "config" : "no config.json; by the shapes", c.num_hidden_layers,
               c.num_local_experts, c.hidden_size, c.intermediate_size);
    fmt::print("    {} heads, {} key/value heads, head size {}, vocabulary {}\n",
               c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.vocab_size);
  }
  fmt::print("  {} tensors, {}, {} file(s), {}\n", report.total.tensors,
             human_bytes(report.total.bytes), report.shards.size(),
             report.distributed ? "each of one rank, with its chunks of the tensors"
             : report.has_index ? "with index"
                                : "no index");
  print_kinds(report);
  print_totals("by dtype", report.by_dtype);
  print_totals("by part", report.by_part);
  if (!report.shards.empty()) fmt::print("  files\n");
  for (const InspectedShard& shard : report.shards) {
    fmt::print("    {:<44} {:>6} tensors {:>10}\n", printable(shard.file), shard.tensors,
               human_bytes(shard.bytes));
  }
  if (report.problems.empty()) {
    fmt::print("No problems found.\n");
    return print_next(report);
  }
  fmt::print("{} error(s), {} warning(s), {} note(s):\n", count(report, Severity::fatal),
             count(report, Severity::warning), count(report, Severity::note));
  for (const Problem& problem : report.problems) fmt::print("{}", describe(problem));
  print_next(report);
}

int run(const Arguments& arguments, const OutputOptions& output) {
  const InspectReport report = inspect(arguments.source);
  const bool ok =
      !has(report, Severity::fatal) && !(arguments.strict && has(report, Severity::warning));
  if (output.json) {
    print_as_json(report, ok);
  } else if (output.quiet) {
    for (const Problem& problem : report.problems) fmt::print(stderr, "{}", describe(problem));
  } else {
    print_for_people(report);
  }
  return ok ? kDone : kSource;
}

}  // namespace

void add_inspect_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a checkpoint holds and what is wrong");
  const auto arguments = std::make_shared<Arguments>();
  command->footer(kExamples);
  command->add_option("DIR", arguments->source, "Checkpoint folder, or Hub name in the local cache")
      ->required();
  command->add_flag("--strict", arguments->strict, "Warnings count as errors for the exit code");
  add_output_options(*command, chosen);
  command->callback([&chosen, arguments] {
    chosen.command = "inspect";
    chosen.run = [&chosen, arguments] { return run(*arguments, chosen.output); };
  });
}

}  // namespace mxferry::cli
