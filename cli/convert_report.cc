#include "convert_report.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <string>

#include "mxferry/error.h"
#include "printing.h"

namespace mxferry::cli {

using Json = nlohmann::ordered_json;

namespace {

std::uint64_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

std::string shard_count(const ConvertPlan& plan) {
  return plan.shards.size() == 1 ? "1 file" : fmt::format("{} files", plan.shards.size());
}

void print_headline(const ConvertPlan& plan, const ConvertOptions& options) {
  fmt::print("{}\n", printable(fmt::format("{} ({})", plan.source.string(), name(plan.from))));
  fmt::print("  -> {}\n",
             printable(fmt::format("{} ({})", options.destination.string(), name(plan.to))));
}

void print_excluded(const ConvertPlan& plan) {
  if (plan.excluded > 0) fmt::print("  {} tensor(s) left out by --exclude\n", plan.excluded);
}

void print_quantized(const ConvertReport& report, const ConvertOptions& options) {
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
             name(options.quant_mode), grouped(sum.saturated), share(sum.saturated));
  if (options.reference.empty()) return;
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

}  // namespace

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
          {"destination_exists", plan.destination_exists},
          {"part",
           {{"rank", plan.part.rank},
            {"world", plan.part.world},
            {"bytes_in", plan.part_bytes_in},
            {"bytes_out", plan.part_bytes_out}}}};
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

void print_plan(const ConvertPlan& plan, const ConvertOptions& options) {
  print_headline(plan, options);
  fmt::print("  reads    {:>9} in {} tensors\n", human_bytes(plan.bytes_in), plan.tensors_in);
  fmt::print("  writes   {:>9} in {} tensors, {}\n", human_bytes(plan.bytes_out), plan.tensors_out,
             shard_count(plan));
  if (plan.part.world > 1) {
    fmt::print("  rank {} of {} of it: reads {}, writes {}\n", plan.part.rank, plan.part.world,
               human_bytes(plan.part_bytes_in), human_bytes(plan.part_bytes_out));
  }
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

void print_summary(const ConvertReport& report, const ConvertOptions& options) {
  const ConvertPlan& plan = report.plan;
  print_headline(plan, options);
  if (report.was_complete) {
    print_proof(report);
    print_notes(plan);
    fmt::print("Nothing was left to do: a finished checkpoint is there.\n");
    return;
  }
  fmt::print("  {} in {} tensors -> {} in {} tensors, {}\n", human_bytes(plan.bytes_in),
             plan.tensors_in, human_bytes(plan.bytes_out), plan.tensors_out, shard_count(plan));
  if (plan.part.world > 1) {
    fmt::print("  rank {} of {}: {} -> {}\n", plan.part.rank, plan.part.world,
               human_bytes(plan.part_bytes_in), human_bytes(plan.part_bytes_out));
  }
  if (report.resumed_shards > 0) {
    fmt::print("  {} of the files were finished already\n", report.resumed_shards);
  }
  if (report.underflows > 0) {
    fmt::print("  {} value(s) underflowed, {} of them to zero\n", report.underflows,
               report.flushed);
  }
  print_quantized(report, options);
  print_proof(report);
  if (options.checksum && report.finished) {
    fmt::print("  checksums of every file written are in SHA256SUMS\n");
  }
  print_excluded(plan);
  print_notes(plan);
  fmt::print("Done in {:.2f} s: {:.2f} GB/s written, {} thread(s), peak memory {}.\n",
             report.seconds,
             static_cast<double>(plan.part_bytes_out) / std::max(report.seconds, 1e-9) / 1e9,
             plan.threads, human_bytes(peak_memory()));
  if (!report.finished) {
    fmt::print("{}", wrapped("", 0,
                             printable(fmt::format("When all parts are done: mxferry finish {}",
                                                   options.destination.string()))));
  }
}

Json report_json(const ConvertReport& report) {
  Json quantized = Json::array();
  for (const QuantizedTensor& tensor : report.quantized) {
    quantized.push_back({{"tensor", tensor.blocks},
                         {"blocks", tensor.block_count},
                         {"kept", tensor.kept},
                         {"saturated", tensor.saturated}});
  }
  Json json = {
      {"ok", true},
      {"dry_run", false},
      {"plan", plan_json(report.plan, false)},
      {"seconds", report.seconds},
      {"bytes_per_second", static_cast<double>(report.plan.part_bytes_out) / report.seconds},
      {"peak_memory", peak_memory()},
      {"underflows", report.underflows},
      {"flushed_to_zero", report.flushed},
      {"quantized", quantized},
      {"resumed_shards", report.resumed_shards},
      {"was_complete", report.was_complete},
      {"finished", report.finished},
      {"verified", report.verified}};
  if (report.loss) json["loss"] = to_json(*report.loss);
  return json;
}

}  // namespace mxferry::cli
