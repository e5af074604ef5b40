#include "mxferry/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/text.h"
#include "source/source_checkpoint.h"
#include "verbs/compare_checkpoints.h"

namespace mxferry {

using namespace internal;

namespace {

bool differs(const ComparedParameter& parameter) {
  return parameter.total.different > 0;
}

// Whether it is MXFP4 in B but not in A.
bool is_quantized(const ComparedParameter& parameter) {
  return parameter.codec_b == "mxfp4" && parameter.codec_a != "mxfp4";
}

std::string structure_verdict(const VerifyReport& report) {
  std::string verdict = "B is not the same model as A:";
  const auto add = [&](std::size_t count, const std::string& what, const std::string& first) {
    if (count == 0) return;
    if (verdict.back() != ':') verdict += ';';
    verdict += fmt::format(" {} {} (first: {})", count, what, first);
  };
  const auto first = [](const std::vector<std::string>& names) {
    return names.empty() ? std::string() : names[0];
  };
  add(report.only_a.size(), "parameter(s) only in A", first(report.only_a));
  add(report.only_b.size(), "parameter(s) only in B", first(report.only_b));
  add(report.mismatched.size(), "of other shape", first(report.mismatched));
  return verdict;
}

}  // namespace

bool VerifyReport::identical() const noexcept {
  return total.different == 0 && only_a.empty() && only_b.empty() && mismatched.empty();
}

std::string VerifyReport::verdict() const {
  const auto transposed = std::ranges::find_if(parameters, &ComparedParameter::transposed);
  if (transposed != parameters.end()) {
    return fmt::format(
        "B is TRANSPOSED: {} matrices hold A's values with rows and columns swapped "
        "(first: {})",
        std::ranges::count_if(parameters, &ComparedParameter::transposed), transposed->tensor_b);
  }
  const auto halves = std::ranges::find_if(parameters, &ComparedParameter::halves);
  if (halves != parameters.end()) {
    return fmt::format(
        "B has gate and up as HALVES: {} parameters hold A's rows in another order, all of gate "
        "before all of up (first: {})",
        std::ranges::count_if(parameters, &ComparedParameter::halves), halves->tensor_b);
  }
  if (!only_a.empty() || !only_b.empty() || !mismatched.empty()) return structure_verdict(*this);
  const bool bytes = std::ranges::all_of(parameters, &ComparedParameter::bytes_identical);
  if (total.different == 0 && bytes) return "B holds exactly the values of A, byte for byte";
  if (total.different == 0 && total.zero_signs > 0) {
    return fmt::format("B holds exactly the values of A, but {} zeros have the other sign",
                       grouped(total.zero_signs));
  }
  if (total.different == 0) return "B holds exactly the values of A";
  if (std::ranges::all_of(parameters, [](const ComparedParameter& parameter) {
        return !differs(parameter) || is_quantized(parameter);
      })) {
    Difference quantized;
    for (const ComparedParameter& parameter : parameters) {
      if (is_quantized(parameter)) quantized += parameter.total;
    }
    return fmt::format("B is A quantized: {:.1f} dB, {} of {} blocks saturated",
                       quantized.sqnr_db(), grouped(quantized.blocks_saturated),
                       grouped(quantized.blocks));
  }
  return fmt::format("B differs from A in {} of {} parameters: {} of {} weights, {:.1f} dB",
                     std::ranges::count_if(parameters, differs), parameters.size(),
                     grouped(total.different), grouped(total.weights), total.sqnr_db());
}

VerifyReport verify(const VerifyOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const SourceCheckpoint a = open_source(options.a, options.orientation_a);
  const SourceCheckpoint b = open_source(options.b, options.orientation_b);
  require_sound(a);
  require_sound(b);
  VerifyReport report = compare_checkpoints(a, b, options);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace mxferry
