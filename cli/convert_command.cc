#include <fmt/format.h>
#include <sys/resource.h>

#include <memory>
#include <optional>
#include <string>

#include "commands.h"
#include "long_run.h"
#include "mxferry/convert.h"
#include "mxferry/error.h"
#include "size.h"

namespace mxferry::cli {
namespace {

using Json = nlohmann::ordered_json;

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

Sizes: KB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024.
Exit codes: 0 done, 2 usage or an existing destination, 3 something wrong in the
source, 4 a system call failed, 5 not enough memory or disk, 128 + N stopped by
signal N (130 for Ctrl-C).)";

struct Arguments {
  ConvertOptions options;
  bool dry_run = false;
  bool no_sync = false;
};

std::uint64_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

Json plan_json(const ConvertPlan& plan, bool with_tensors) {
  Json shards = Json::array();
  for (const PlannedShard& shard : plan.shards) {
    Json entry = {{"file", shard.file}, {"bytes", shard.bytes}};
    if (with_tensors) {
      entry["tensors"] = Json::array();
      for (const TensorInfo& tensor : shard.tensors) {
        entry["tensors"].push_back({{"name", tensor.name},
                                    {"dtype", std::string(name(tensor.dtype))},
                                    {"shape", tensor.shape},
                                    {"bytes", tensor.end - tensor.begin}});
      }
    }
    shards.push_back(std::move(entry));
  }
  Json warnings = Json::array();
  for (const Problem& problem : plan.warnings) warnings.push_back(to_json(problem));
  return {{"source", plan.source.string()},
          {"from", std::string(name(plan.from))},
          {"to", std::string(name(plan.to))},
          {"tensors_in", plan.tensors_in},
          {"tensors_out", plan.tensors_out},
          {"bytes_in", plan.bytes_in},
          {"bytes_out", plan.bytes_out},
          {"shards", shards},
          {"carried", plan.carried},
          {"passed_through", plan.passed_through},
          {"excluded", plan.excluded},
          {"warnings", warnings},
          {"threads", plan.threads},
          {"peak_memory_estimate", plan.peak_memory},
          {"disk_needed", plan.disk_needed},
          {"disk_free", plan.disk_free},
          {"destination_exists", plan.destination_exists}};
}

std::string shard_count(const ConvertPlan& plan) {
  return plan.shards.size() == 1 ? "1 file" : fmt::format("{} files", plan.shards.size());
}

void print_headline(const ConvertPlan& plan, const Arguments& arguments) {
  fmt::print("{}\n", printable(fmt::format("{} ({})", plan.source.string(), name(plan.from))));
  fmt::print("  -> {}\n", printable(fmt::format("{} ({})", arguments.options.destination.string(),
                                                name(plan.to))));
}

void print_notes(const ConvertPlan& plan) {
  for (const Problem& problem : plan.warnings) fmt::print(stderr, "{}", describe(problem));
  if (!plan.passed_through.empty()) {
    const std::string& first = plan.passed_through[0];
    fmt::print(stderr, "{}",
               wrapped("  note: ", 4,
                       printable(fmt::format(
                           "{} tensor(s) of unknown name were copied untouched, the first is '{}'",
                           plan.passed_through.size(), first))));
  }
}

void print_excluded(const ConvertPlan& plan) {
  if (plan.excluded > 0) fmt::print("  {} tensor(s) left out by --exclude\n", plan.excluded);
}

void print_plan(const ConvertPlan& plan, const Arguments& arguments) {
  print_headline(plan, arguments);
  fmt::print("  reads    {:>9} in {} tensors\n", human_bytes(plan.bytes_in), plan.tensors_in);
  fmt::print("  writes   {:>9} in {} tensors, {}\n", human_bytes(plan.bytes_out), plan.tensors_out,
             shard_count(plan));
  fmt::print("  memory   {:>9} at most, with {} thread(s)\n", human_bytes(plan.peak_memory),
             plan.threads);
  fmt::print("  disk     {:>9} needed, {} free{}\n", human_bytes(plan.disk_needed),
             human_bytes(plan.disk_free), plan.disk_needed > plan.disk_free ? ": NOT ENOUGH" : "");
  for (const PlannedShard& shard : plan.shards) {
    fmt::print("  {}  {:>9}  {} tensors\n", shard.file, human_bytes(shard.bytes),
               shard.tensors.size());
  }
  if (!plan.carried.empty()) {
    std::string names;
    for (const std::string& file : plan.carried) names += (names.empty() ? "" : ", ") + file;
    fmt::print("{}", wrapped("  carried: ", 4, printable(names)));
  }
  if (plan.destination_exists)
    fmt::print("  The destination exists: the conversion will need --force.\n");
  print_excluded(plan);
  print_notes(plan);
  fmt::print("Nothing was converted (--dry-run).\n");
}

void print_quantized(const ConvertReport& report, const Arguments& arguments) {
  QuantizedTensor sum;
  for (const QuantizedTensor& tensor : report.quantized) {
    sum.block_count += tensor.block_count;
    sum.kept += tensor.kept;
    sum.saturated += tensor.saturated;
  }
  if (sum.block_count == 0) return;
  const auto share = [&](std::uint64_t count) {
    return 100 * static_cast<double>(count) / static_cast<double>(sum.block_count);
  };
  fmt::print("  {} blocks quantized ({}): {} saturated ({:.2f} %)\n", grouped(sum.block_count),
             name(arguments.options.quant_mode), grouped(sum.saturated), share(sum.saturated));
  if (arguments.options.reference.empty()) return;
  fmt::print("  {} blocks kept as the reference has them ({:.2f} %)\n", grouped(sum.kept),
             share(sum.kept));
}

void print_proof(const ConvertReport& report) {
  if (!report.verified) return;
  fmt::print("  verified: every byte was read back and is what this conversion defines\n");
  if (!report.loss) return;
  const Difference& loss = *report.loss;
  if (loss.different == 0) {
    fmt::print("  no value was lost\n");
    return;
  }
  fmt::print(
      "  lost: {} of {} weights changed, SQNR of all weights {:.1f} dB, largest error {:.3g}\n",
      grouped(loss.different), grouped(loss.weights), loss.sqnr_db(), loss.max_absolute_error);
}

void print_summary(const ConvertReport& report, const Arguments& arguments) {
  const ConvertPlan& plan = report.plan;
  print_headline(plan, arguments);
  fmt::print("  {} in {} tensors -> {} in {} tensors, {}\n", human_bytes(plan.bytes_in),
             plan.tensors_in, human_bytes(plan.bytes_out), plan.tensors_out, shard_count(plan));
  if (report.underflows > 0) {
    fmt::print("  {} value(s) underflowed, {} of them to zero\n", report.underflows,
               report.flushed);
  }
  print_quantized(report, arguments);
  print_proof(report);
  print_excluded(plan);
  print_notes(plan);
  fmt::print("Done in {:.2f} s: {:.2f} GB/s written, {} thread(s), peak memory {}.\n",
             report.seconds,
             static_cast<double>(plan.bytes_out) / std::max(report.seconds, 1e-9) / 1e9,
             plan.threads, human_bytes(peak_memory()));
}

Json report_json(const ConvertReport& report) {
  Json quantized = Json::array();
  for (const QuantizedTensor& tensor : report.quantized) {
    quantized.push_back({{"tensor", tensor.blocks},
                         {"blocks", tensor.block_count},
                         {"kept", tensor.kept},
                         {"saturated", tensor.saturated}});
  }
  Json json = {{"ok", true},
               {"dry_run", false},
               {"plan", plan_json(report.plan, false)},
               {"seconds", report.seconds},
               {"bytes_per_second", static_cast<double>(report.plan.bytes_out) / report.seconds},
               {"peak_memory", peak_memory()},
               {"underflows", report.underflows},
               {"flushed_to_zero", report.flushed},
               {"quantized", quantized},
               {"verified", report.verified}};
  if (report.loss) json["loss"] = to_json(*report.loss);
  return json;
}

int run(Arguments& arguments, const OutputOptions& output) {
  ConvertOptions& options = arguments.options;
  options.sync = !arguments.no_sync;
  if (arguments.dry_run) {
    const ConvertPlan plan = plan_conversion(options);
    if (output.json) {
      print_json("convert", {{"ok", true}, {"dry_run", true}, {"plan", plan_json(plan, true)}});
    } else {
      print_plan(plan, arguments);
    }
    return kDone;
  }
  ConvertReport report;
  const auto work = [&](const LongRun& long_run) {
    options.stop = long_run.stop;
    options.progress = long_run.progress;
    report = convert(options);
  };
  return run_long("convert", output, work, [&] {
    if (output.json) {
      print_json("convert", report_json(report));
    } else if (output.quiet) {
      print_notes(report.plan);
    } else {
      print_summary(report, arguments);
    }
    return kDone;
  });
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
  add_name_option(*command, "--to", o.to, parse_layout, "hf|nemo|original", "Layout of the target")
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
  command->add_flag("--verify", o.verify, "Read back what was written, and prove it");
  command->add_flag(
      "--allow-nonfinite", o.allow_nonfinite,
      "Keep blocks that are infinite or NaN; quantize\ninfinity to the largest number");
  command->add_flag("--dry-run", arguments->dry_run, "Show the plan, convert nothing");
  command->add_flag("--force", o.force, "Replace a checkpoint at DST");
  add_output_options(*command, chosen);
  command->callback([&chosen, arguments] {
    chosen.command = "convert";
    chosen.run = [&chosen, arguments] { return run(*arguments, chosen.output); };
  });
}

}  // namespace mxferry::cli
