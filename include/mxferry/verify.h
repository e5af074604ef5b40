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

// What `mxferry verify` takes; the defaults are its defaults.
struct VerifyOptions {
  std::string a;  // checkpoint folders, or Hub names in the local cache
  std::string b;
  int threads = 0;                                    // 0: as many as the process may use
  std::uint64_t max_memory = std::uint64_t{1} << 30;  // bytes, of the whole process
  // How square dense expert weights lie where nothing tells: see ConvertOptions.
  std::optional<AxisOrder> orientation_a, orientation_b;
  std::function<void(const ConvertProgress&)> progress;  // as in ConvertOptions; bytes of A and B
  std::stop_token stop;
};

// A parameter that both sides have.
struct ComparedParameter {
  std::string tensor_a;  // the stored name; that of the blocks where packed
  std::string tensor_b;
  std::string kind;  // in words, for example "experts' down projection"; "" for an unknown tensor
  std::optional<std::int64_t> layer;
  Shape shape;          // logical: [n], [out, in] or [expert, out, in]
  std::string codec_a;  // "mxfp4", "bf16" and so on; the safetensors dtype of an unknown tensor
  std::string codec_b;
  bool bytes_identical = false;  // stored alike, and every byte is the same
  Difference total;
  std::vector<Difference> experts;  // of the experts' weights; else empty
  std::optional<WeightPair> worst;  // the largest absolute error; nullopt where nothing differs
  // B holds A's matrices transposed, or close to it: see VerifyReport::transposed.
  bool transposed = false;
};

struct VerifyReport {
  std::filesystem::path a, b;  // resolved
  Layout layout_a = Layout::hf;
  Layout layout_b = Layout::hf;
  std::vector<ComparedParameter> parameters;  // in natural order of B's names
  std::vector<std::string> only_a, only_b;    // names of tensors without a counterpart
  // Parameters whose shapes differ, in words: compared no further.
  std::vector<std::string> mismatched;
  // What inspect() finds wrong with either, and a comparison can live with.
  std::vector<Problem> warnings;
  Difference total;
  // How many blocks have each scale; all 0 where no expert is packed.
  std::array<std::uint64_t, 256> scales_a{}, scales_b{};
  std::uint64_t bytes_read = 0;
  double seconds = 0;

  // Whether B holds exactly the values of A: the same parameters, no weight different.
  bool identical() const noexcept;
  // The finding in one plain sentence.
  std::string verdict() const;
};

// Compares two checkpoints of any layouts and dtypes, parameter by parameter, in bounded memory.
// Throws Error: what inspect() would call fatal of either, invalid_argument, not_enough_memory,
// io_error, cancelled.
VerifyReport verify(const VerifyOptions& options);

// One self-contained HTML page about the report: verdict, heat maps by layer and expert, worst
// tensors, scales. ASCII, everything escaped, nothing loaded from elsewhere.
std::string html_report(const VerifyReport& report);

}  // namespace mxferry
