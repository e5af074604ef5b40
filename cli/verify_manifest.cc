#include "verify_manifest.h"

#include <fmt/format.h>

#include <algorithm>

#include "long_run.h"

namespace mxferry::cli {
namespace {

using Json = nlohmann::ordered_json;

void print_report_json(const VerifyManifestReport& report) {
  Json damaged = Json::array();
  for (const DamagedFile& file : report.damaged) {
    damaged.push_back({{"file", file.name},
                       {"problem", file.problem},
                       {"expected", file.expected},
                       {"found", file.found.empty() ? Json() : Json(file.found)}});
  }
  print_json("verify", {{"ok", true},
                        {"intact", report.intact()},
                        {"path", report.path.string()},
                        {"manifest", report.manifest},
                        {"files", report.files},
                        {"damaged", damaged},
                        {"unlisted", report.unlisted},
                        {"bytes_read", report.bytes_read},
                        {"seconds", report.seconds}});
}

void print_damaged(const std::vector<DamagedFile>& damaged) {
  constexpr std::size_t kMost = 20;
  for (std::size_t i = 0; i < std::min(kMost, damaged.size()); ++i) {
    const DamagedFile& file = damaged[i];
    fmt::print("  {}: {}\n", shortened(printable(file.name)), printable(file.problem));
    if (file.found.empty()) continue;
    fmt::print("    expected {}\n    found    {}\n", file.expected, file.found);
  }
  if (damaged.size() > kMost) fmt::print("  and {} more\n", damaged.size() - kMost);
}

void print_report(const VerifyManifestReport& report) {
  fmt::print("{}\n", printable(report.path.string()));
  fmt::print("  against {}\n", report.manifest);
  if (report.intact()) {
    fmt::print("All {} files are intact.\n", report.files);
  } else {
    fmt::print("{} of {} files are DAMAGED:\n", report.damaged.size(), report.files);
  }
  print_damaged(report.damaged);
  print_names("not listed, and not checked:", report.unlisted);
  print_read(report.bytes_read, report.seconds);
}

}  // namespace

int run_verify_manifest(VerifyManifestOptions options, const OutputOptions& output) {
  VerifyManifestReport report;
  const auto work = [&](const LongRun& long_run) {
    options.stop = long_run.stop;
    options.progress = long_run.progress;
    report = verify_manifest(options);
  };
  return run_long("verify", output, work, [&] {
    if (output.json) {
      print_report_json(report);
    } else if (!output.quiet) {
      print_report(report);
    }
    return report.intact() ? kDone : kDiffers;
  });
}

}  // namespace mxferry::cli
