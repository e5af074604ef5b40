// What one rank needs: run once for each figure, in a process of its own, by ranks.py.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bench/bench.h"
#include "mxferry/convert.h"
#include "mxferry/load_checkpoint.h"

namespace mxferry::internal::bench {
namespace {

// Bytes of memory that this process has had at most, unlike ru_maxrss without those of the process
// that started it.
std::uint64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  constexpr std::string_view kKey = "VmHWM:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kKey)) return std::stoull(line.substr(kKey.size())) * 1024;
  }
  throw std::runtime_error("/proc/self/status has no VmHWM");
}

nlohmann::json load(const std::string& checkpoint, std::int64_t ranks, std::int64_t rank,
                    int threads) {
  const GPTOSSStateDictAdapter adapter({}, {}, {});
  const DeviceMesh mesh{{{.name = "ep", .size = ranks, .coordinate = rank}}};
  LoadedCheckpoint loaded;
  const auto run = [&] {
    loaded = load_checkpoint(checkpoint, adapter, mesh, {.read = {.threads = threads}});
  };
  // Once unmeasured: a virtual machine hands memory that lies free for a while back to its host,
  // and the next one to touch it waits for the host.
  run();
  constexpr int kMeasured = 5;
  std::vector<double> times;
  for (int i = 0; i < kMeasured; ++i) {
    loaded = {};
    times.push_back(seconds(run));
  }
  std::uint64_t result = 0;
  for (const auto& [name, tensor] : loaded.state_dict) result += tensor.byte_count();
  return {{"seconds", median(times)},
          {"bytes_read", loaded.bytes_read},
          {"result_bytes", result},
          {"peak_memory", peak_memory()}};
}

// The first plan of a process: nothing is warm in it but the files' pages.
nlohmann::json plan(const std::string& checkpoint) {
  ConvertOptions options;
  options.source = checkpoint;
  options.destination = checkpoint + "-converted";
  options.to = Layout::nemo;
  ConvertPlan planned;
  const double time = seconds([&] { planned = plan_conversion(options); });
  return {{"seconds", time},
          {"tensors", planned.tensors_in},
          {"bytes_in", planned.bytes_in},
          {"bytes_out", planned.bytes_out}};
}

}  // namespace
}  // namespace mxferry::internal::bench

int main(int argc, char** argv) {
  CLI::App app("What one rank needs");
  app.require_subcommand(1);
  std::string checkpoint;
  std::int64_t ranks = 1;
  std::int64_t rank = 0;
  int threads = 0;
  CLI::App* const load = app.add_subcommand("load", "load_checkpoint() of one rank of --ranks");
  load->add_option("checkpoint", checkpoint)->required();
  load->add_option("--ranks", ranks)->required();
  load->add_option("--rank", rank)->required();
  load->add_option("--threads", threads);
  CLI::App* const plan = app.add_subcommand("plan", "plan_conversion()");
  plan->add_option("checkpoint", checkpoint)->required();
  CLI11_PARSE(app, argc, argv);
  try {
    const auto result = *load ? mxferry::internal::bench::load(checkpoint, ranks, rank, threads)
                              : mxferry::internal::bench::plan(checkpoint);
    fmt::print("{}\n", result.dump());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
