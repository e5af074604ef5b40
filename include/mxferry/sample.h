#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>

#include "mxferry/config.h"
#include "mxferry/convert.h"
#include "mxferry/layout.h"

namespace mxferry {

enum class SamplePreset {
  tiny,        // 3 layers, 4 experts, hidden 64, intermediate 96: kilobytes
  layer_20b,   // one full-size layer of gpt-oss-20b, with a vocabulary of 1024
  layer_120b,  // one full-size layer of gpt-oss-120b, with a vocabulary of 1024
};

// "tiny", "20b-layer", "120b-layer".
std::optional<SamplePreset> parse_sample_preset(std::string_view name) noexcept;

// The sizes of a preset.
GptOssConfig sample_config(SamplePreset preset) noexcept;

struct SampleOptions {
  std::filesystem::path destination;  // new or empty
  GptOssConfig config = sample_config(SamplePreset::tiny);
  std::uint64_t seed = 0;
  Layout to = Layout::hf;
  BackendConfig backend;
  // Of the experts' weights: mxfp4, or bf16 for the same model dequantized. nullopt: bf16 for nemo,
  // else mxfp4.
  std::optional<Codec> dtype;
  bool wild = false;  // every scale 0..252 and every code, instead of weights like a model's
  std::function<void(const ConvertProgress&)> progress;  // as in ConvertOptions
  std::stop_token stop;
};

struct SampleReport {
  Codec dtype = Codec::mxfp4;  // of the experts' weights
  std::size_t tensors = 0;
  std::size_t files = 0;
  std::uint64_t bytes = 0;  // of tensor data
};

// Writes a synthetic checkpoint with the published names, shapes, shard names and side files. The
// model depends only on sizes, seed and `wild`: it has the same bytes on every platform, and
// converting a sample gives the sample in the other layout. Weights are roughly normal with a
// deviation of 0.02, norms about 1. Throws Error: invalid_argument (a size outside 1 to 2^24, a
// hidden or intermediate size that is not a multiple of 32, a dtype other than mxfp4 and bf16),
// destination_exists, destination_in_use, conversion_changed, not_enough_disk, io_error, cancelled.
SampleReport write_sample(const SampleOptions& options);

}  // namespace mxferry
