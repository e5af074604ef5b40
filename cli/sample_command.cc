#include <fmt/format.h>

#include <memory>
#include <string>

#include "commands.h"
#include "long_run.h"
#include "mxferry/error.h"
#include "mxferry/sample.h"

namespace mxferry::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  mxferry sample tiny-gpt-oss
      kilobytes, with everything that a published checkpoint has
  mxferry sample big --preset 20b-layer
      one true-sized layer, 423 MB of experts
  mxferry sample odd --layers 12 --hidden 96 --intermediate 160 --wild --seed 7
      every scale and every code
  mxferry sample dense --to nemo --dtype bf16
      the same model as `mxferry convert tiny-gpt-oss dense --to nemo`)";

struct Arguments {
  SampleOptions options;
  // 0 means the preset's.
  std::int64_t layers = 0, experts = 0, hidden = 0, intermediate = 0, vocab = 0;
};

void apply_sizes(Arguments& arguments) {
  GptOssConfig& config = arguments.options.config;
  const auto set = [](std::int64_t& field, std::int64_t value) {
    if (value != 0) field = value;
  };
  set(config.num_hidden_layers, arguments.layers);
  set(config.num_local_experts, arguments.experts);
  set(config.hidden_size, arguments.hidden);
  set(config.intermediate_size, arguments.intermediate);
  set(config.vocab_size, arguments.vocab);
}

int run(Arguments& arguments, const OutputOptions& output) {
  apply_sizes(arguments);
  SampleOptions& options = arguments.options;
  SampleReport report;
  const auto work = [&](const LongRun& long_run) {
    options.stop = long_run.stop;
    options.progress = long_run.progress;
    report = write_sample(options);
  };
  return run_long("sample", output, work, [&] {
    const std::string path = options.destination.string();
    if (output.json) {
      print_json("sample", {{"ok", true},
                            {"path", path},
                            {"tensors", report.tensors},
                            {"files", report.files},
                            {"bytes", report.bytes}});
    } else if (!output.quiet) {
      fmt::print("{}: {} in {} tensors, {} file(s), {} {}\n", printable(path),
                 human_bytes(report.bytes), report.tensors, report.files, name(options.to),
                 name(report.dtype));
    }
    return kDone;
  });
}

}  // namespace

void add_sample_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("sample", "Write a synthetic checkpoint, for tests");
  const auto arguments = std::make_shared<Arguments>();
  SampleOptions& o = arguments->options;
  command->footer(kExamples);
  command->add_option("DIR", o.destination, "Folder to write, new or empty")->required();
  add_name_option(
      *command, "--preset", o.config,
      [](const std::string& text) {
        const std::optional<SamplePreset> preset = parse_sample_preset(text);
        return preset ? std::optional(sample_config(*preset)) : std::nullopt;
      },
      "tiny|20b-layer|120b-layer", "Sizes to begin with [tiny]");
  command->add_option("--layers", arguments->layers, "Number of layers")->type_name("N");
  command->add_option("--experts", arguments->experts, "Experts in a layer")->type_name("N");
  command->add_option("--hidden", arguments->hidden, "Hidden size, a multiple of 32")
      ->type_name("N");
  command
      ->add_option("--intermediate", arguments->intermediate, "Intermediate size, a multiple of 32")
      ->type_name("N");
  command->add_option("--vocab", arguments->vocab, "Vocabulary")->type_name("N");
  command->add_option("--seed", o.seed, "Same seed, same bytes [0]")->type_name("N");
  add_name_option(*command, "--to", o.to, parse_layout, kLayoutNames, "Layout [hf]");
  add_name_option(
      *command, "--dtype", o.dtype, parse_codec, "mxfp4|bf16",
      "Of the experts; bf16 is the same model dequantized\n[mxfp4 where the layout has it]");
  command->add_flag("--wild", o.wild, "Every scale 0..252 and every code");
  add_output_options(*command, chosen);
  command->callback([&chosen, arguments] {
    chosen.command = "sample";
    chosen.run = [&chosen, arguments] { return run(*arguments, chosen.output); };
  });
}

}  // namespace mxferry::cli
