#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "commands.h"
#include "convert_report.h"
#include "long_run.h"
#include "mxferry/convert.h"
#include "mxferry/error.h"
#include "size.h"

namespace mxferry::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  mxferry convert openai/gpt-oss-20b out --to hf
      MXFP4 from the local Hugging Face cache to plain BF16
  mxferry convert gpt-oss-20b out --to nemo --attn te --dtype f32
      names and dtype for NeMo AutoModel with Transformer Engine
  mxferry convert gpt-oss-20b/original out --to hf --dtype mxfp4
      OpenAI's layout to Hugging Face's, blocks untouched
  mxferry convert finetuned out --to hf --dtype mxfp4 --verify
      BF16 back to MXFP4, read back and compared
  mxferry convert finetuned out --to hf --dtype mxfp4 --reference gpt-oss-20b
      blocks that training left alone get the bytes that they had
  mxferry convert epoch_0_step_9 out --to hf --dtype mxfp4
      the files of a training run's ranks to one MXFP4 checkpoint
  mxferry convert gpt-oss-120b out --to nemo --dry-run
      what would be done, and whether memory and disk suffice
  mxferry convert gpt-oss-120b out --to nemo --rank 0 --world 8
      the first of eight parts, on any machines; `mxferry finish out` ends them
  mxferry convert gpt-oss-120b out --to nemo --resume
      go on where an earlier run was stopped

Under mpirun, srun --mpi=pmix or torchrun -m mxferry the parts are the ranks.
Sizes: KB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024.
Exit codes: 0 done, 2 usage or an existing destination, 3 something wrong in the
source, 4 a system call failed, 5 not enough memory or disk, 128 + N stopped by
signal N (130 for Ctrl-C).)";

struct Arguments {
  ConvertOptions options;
  bool dry_run = false;
  bool no_sync = false;
};

// Converts alone, or as one of a launcher's ranks. Signals are already handled here: threads that a
// launcher's library starts must not receive them.
ConvertReport convert_together(ConvertOptions& options, Chosen& chosen) {
  chosen.ranks = launched_ranks(chosen.argv);
  if (!chosen.ranks) return convert(options);
  options.part = chosen.ranks->part();
  chosen.output.rank = options.part.rank;
  const auto start = std::chrono::steady_clock::now();
  options.on_planned = [&](const ConvertPlan& plan) {
    chosen.ranks->wait_for_all(plan.digest, options.stop);
  };
  ConvertReport report = convert(options);
  chosen.ranks->wait_for_all("done", options.stop);
  // If one rank had nothing left to do, none had.
  if (options.part.rank == 0 && !report.was_complete) {
    finish_conversion(options.destination, options.stop);
  }
  chosen.ranks->wait_for_all("finished", options.stop);
  report.finished = true;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

int run(Arguments& arguments, Chosen& chosen) {
  const OutputOptions& output = chosen.output;
  ConvertOptions& options = arguments.options;
  const bool has_part = options.part.world > 1;
  options.sync = !arguments.no_sync;
  if (arguments.dry_run) {
    const ConvertPlan plan = plan_conversion(options);
    if (output.json) {
      print_json("convert", {{"ok", true}, {"dry_run", true}, {"plan", plan_json(plan, true)}});
    } else {
      print_plan(plan, options);
    }
    return kDone;
  }
  ConvertReport report;
  const auto work = [&](const LongRun& long_run) {
    options.stop = long_run.stop;
    options.progress = long_run.progress;
    report = has_part ? convert(options) : convert_together(options, chosen);
  };
  return run_long("convert", output, work, [&] {
    if (output.leaves_it_to_another()) return kDone;
    if (output.json) {
      print_json("convert", report_json(report));
    } else if (output.quiet) {
      print_notes(report.plan);
    } else {
      print_summary(report, options);
    }
    return kDone;
  });
}

// For jobs whose processes do not communicate.
void add_part_options(CLI::App& command, Part& part) {
  constexpr int kMost = 1'000'000;
  CLI::Option* const rank = command
                                .add_option("--rank", part.rank,
                                            "Do part N of --world alone, from 0 on; then\n"
                                            "`mxferry finish DST` makes a checkpoint of all")
                                ->type_name("N")
                                ->check(CLI::Range(0, kMost).description(""));
  CLI::Option* const world = command.add_option("--world", part.world, "How many parts there are")
                                 ->type_name("N")
                                 ->check(CLI::Range(1, kMost).description(""));
  rank->needs(world);
  world->needs(rank);
}

}  // namespace

void add_convert_command(CLI::App& app, Chosen& chosen) {
  CLI::App* command =
      app.add_subcommand("convert", "Convert a checkpoint to another layout or dtype");
  const auto arguments = std::make_shared<Arguments>();
  ConvertOptions& o = arguments->options;
  command->footer(kExamples);
  command->add_option("SRC", o.source, "Checkpoint folder, or Hub name in the local cache")
      ->required();
  command->add_option("DST", o.destination, "Folder to write, new or empty")->required();
  add_name_option(*command, "--to", o.to, parse_layout, kLayoutNames, "Layout of the target")
      ->required();
  command->add_option("--attn", o.backend.attn, "Names of the sinks in the nemo layout [flex]")
      ->type_name("flex|te")
      ->check(CLI::IsMember({"flex", "te"}).description(""));
  add_name_option(*command, "--dtype", o.dtype, parse_codec, "bf16|f16|f32|mxfp4",
                  "Of all known weights; mxfp4: of the experts'\n[bf16 if experts are dequantized, "
                  "else unchanged]");
  add_name_option(
      *command, "--dense-dtype", o.dense_dtype,
      [](const std::string& text) {
        const std::optional<Codec> codec = parse_codec(text);
        return codec ? dense_dtype(*codec) : std::nullopt;
      },
      "bf16|f16|f32", "Of all but the experts' weights [as --dtype]");
  command
      ->add_option("--exclude", o.exclude,
                   "Leave out tensors whose new name matches\n(re.match of Python)")
      ->type_name("REGEX");
  add_name_option(*command, "--quant-mode", o.quant_mode, parse_quant_mode, "gptoss|ocp|even|best",
                  "How blocks get their scales [gptoss]");
  command
      ->add_option(
          "--reference", o.reference,
          "MXFP4 checkpoint of the same model: blocks that\nare exact under its scales keep them")
      ->type_name("DIR");
  add_name_option(
      *command, "--orientation", o.orientation, parse_axis_order, "out_in|in_out",
      "How square dense expert weights of SRC lie\n[as their sibling, else as the weights tell]");
  add_size_option(*command, "--max-shard-size", o.max_shard_size, "Data in one file [5GB]");
  command
      ->add_option("--dcp-shards", o.dcp_shards,
                   "Write the files of N ranks, as PyTorch's\n"
                   "distributed checkpoints have them [whole tensors]")
      ->type_name("N")
      ->check(CLI::Range(1, 99'999).description(""));
  command->add_option("--threads", o.threads, "Threads [all available]")
      ->type_name("N")
      ->check(CLI::Range(1, 4096).description(""));
  add_size_option(*command, "--max-memory", o.max_memory, "Memory that may be used [1GiB]");
  command->add_flag("--no-sync", arguments->no_sync,
                    "Do not wait for the disk: for scratch folders");
  command->add_flag("--checksum", o.checksum, "Write SHA256SUMS, for `verify --manifest DST`");
  command->add_flag("--strict", o.strict, "Refuse a source of which there is a warning");
  command->add_flag("--verify", o.verify, "Read back what was written, and prove it");
  command->add_flag(
      "--allow-nonfinite", o.allow_nonfinite,
      "Keep blocks that are infinite or NaN; quantize\ninfinity to the largest number");
  command->add_flag("--dry-run", arguments->dry_run, "Show the plan, convert nothing");
  command->add_flag("--force", o.force, "Replace a checkpoint at DST");
  command->add_flag("--resume", o.resume, "Go on with what a run before began at DST, if any");
  add_part_options(*command, o.part);
  add_output_options(*command, chosen);
  command->callback([&chosen, arguments] {
    chosen.command = "convert";
    chosen.run = [&chosen, arguments] { return run(*arguments, chosen); };
  });
}

}  // namespace mxferry::cli
