#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "mxferry/convert.h"
#include "mxferry/difference.h"
#include "mxferry/layout.h"
#include "mxferry/tensor.h"

namespace mxferry {

// The options of `mxferry verify`, with the same defaults.
struct VerifyOptions {
  std::string a;  // checkpoint folders, or Hub names in the local cache
  std::string b;
  int threads = 0;                                    // 0: as many as the process may use
  std::uint64_t max_memory = std::uint64_t{1} << 30;  // bytes, of the whole process
  // The axis order of square dense expert weights: see ConvertOptions::orientation.
  std::optional<AxisOrder> orientation_a, orientation_b;
  std::function<void(const ConvertProgress&)> progress;  // as in ConvertOptions; bytes of A and B
  std::stop_token stop;
};

// A parameter present on both sides.
struct ComparedParameter {
  std::string tensor_a;  // the stored name; if packed, that of the blocks
  std::string tensor_b;
  std::string kind;  // in words, for example "experts' down projection"; "" for an unknown tensor
  std::optional<std::int64_t> layer;
  Shape shape;          // logical: [n], [out, in] or [expert, out, in]
  std::string codec_a;  // "mxfp4", "bf16" and so on; the safetensors dtype of an unknown tensor
  std::string codec_b;
  bool bytes_identical = false;  // stored the same way, with every byte equal
  Difference total;
  std::vector<Difference> experts;  // for expert weights; else empty
  std::optional<WeightPair> worst;  // the largest absolute error; nullopt if nothing differs
  // B holds A's matrices transposed, or nearly so: see VerifyReport::verdict().
  bool transposed = false;
  // B holds all rows of gate before all rows of up, where A has them in turn, or nearly so.
  bool halves = false;
};

struct VerifyReport {
  std::filesystem::path a, b;  // resolved
  Layout layout_a = Layout::hf;
  Layout layout_b = Layout::hf;
  std::vector<ComparedParameter> parameters;  // in natural order of B's names
  std::vector<std::string> only_a, only_b;    // names of tensors without a counterpart
  // Parameters whose shapes differ and unknown tensors whose shapes or dtypes differ, in words; not
  // compared further.
  std::vector<std::string> mismatched;
  // Problems that inspect() finds on either side and that do not prevent a comparison.
  std::vector<Problem> warnings;
  Difference total;
  // How many blocks have each scale; all 0 if no expert is packed.
  std::array<std::uint64_t, 256> scales_a{}, scales_b{};
  std::uint64_t bytes_read = 0;
  double seconds = 0;

  // Whether B holds exactly the values of A: the same parameters, with no weight different.
  bool identical() const noexcept;
  // The result in one plain sentence.
  std::string verdict() const;
};

// Compares two checkpoints of any layouts and dtypes, parameter by parameter, in bounded memory.
// Throws Error: what inspect() reports as fatal for either, invalid_argument, not_enough_memory,
// io_error, cancelled.
VerifyReport verify(const VerifyOptions& options);

// A self-contained HTML page about the report: verdict, heat maps by layer and expert, worst
// tensors, scales. ASCII, fully escaped, loads nothing from elsewhere.
std::string html_report(const VerifyReport& report);

}  // namespace mxferry
