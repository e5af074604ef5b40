// How close decoding in memory comes to what the memory itself can take: every row is a ratio to
// the bandwidth of non-temporal stores of the same bytes, on as many threads.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/parallel.h"
#include "bench/bench.h"
#include "bench/machine.h"
#include "mxferry/mxfp4.h"
#include "mxfp4/decode.h"
#include "mxfp4/reference.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mxferry::bench {
namespace {

using mxfp4::Order;

// gate_up_proj of gpt-oss-20b.
constexpr std::size_t kRows = 5760;
constexpr std::size_t kGroups = 90;
constexpr std::size_t kColumns = kGroups * kBlockSize;
constexpr std::size_t kOutputBytes = 1'000'000'000;

struct Subject {
  const char* name;
  DType dtype;
  Order order;
  int threads;
  double at_least;
  double aim;
};

// A bound of 0 is none.
constexpr std::array kSubjects = {
    Subject{"decode BF16 transposed", DType::BF16, Order::transposed, 1, 0.76, 0.90},
    Subject{"decode BF16 transposed", DType::BF16, Order::transposed, 2, 0.92, 0.97},
    Subject{"decode FP32 transposed", DType::F32, Order::transposed, 1, 0, 0},
    Subject{"decode FP32 transposed", DType::F32, Order::transposed, 2, 0.94, 0.98},
    Subject{"decode FP16 transposed", DType::F16, Order::transposed, 1, 0, 0},
    Subject{"decode FP16 transposed", DType::F16, Order::transposed, 2, 0.80, 0.95},
    Subject{"decode BF16", DType::BF16, Order::rows, 1, 0, 0},
    Subject{"decode BF16", DType::BF16, Order::rows, 2, 0.92, 1.00},
};

std::size_t size_of(DType dtype) {
  return static_cast<std::size_t>(bits(dtype)) / 8;
}

// As many experts as fill kOutputBytes.
std::size_t expert_count(DType dtype) {
  const std::size_t expert_bytes = kRows * kColumns * size_of(dtype);
  return (kOutputBytes + expert_bytes - 1) / expert_bytes;
}

class Weights {
 public:
  Weights()
      : blocks_(allocate_bytes(kExperts * kRows * kGroups * kBlockBytes)),
        scales_(allocate_bytes(kExperts * kRows * kGroups)) {
    // As in a trained model: scales of a few neighbouring magnitudes, codes of all kinds.
    constexpr std::uint64_t kSeed = 20;
    std::mt19937_64 random(kSeed);
    for (std::size_t i = 0; i < kExperts * kRows * kGroups; ++i) {
      const std::uint64_t halves[2] = {random(), random()};
      std::memcpy(blocks_.get() + i * kBlockBytes, halves, kBlockBytes);
      scales_.get()[i] = static_cast<std::byte>(116 + random() % 8);
    }
  }

  mxfp4::PackedTensorView view(std::size_t experts) const {
    return {reinterpret_cast<const std::uint8_t*>(blocks_.get()),
            reinterpret_cast<const std::uint8_t*>(scales_.get()), experts, kRows, kGroups};
  }

 private:
  static constexpr std::size_t kExperts = 32;
  std::shared_ptr<std::byte> blocks_;
  std::shared_ptr<std::byte> scales_;
};

// The patterns of all scales and codes, from the reference.
std::vector<std::uint32_t> reference_patterns(DType dtype) {
  std::vector<std::uint32_t> patterns;
  for (int scale = 0; scale < 256; ++scale) {
    for (int code = 0; code < 16; ++code) {
      patterns.push_back(mxfp4::reference::round_to(
          dtype, mxfp4::reference::exact_value(static_cast<std::uint8_t>(scale), code)));
    }
  }
  return patterns;
}

// Whether one expert's output has the reference's pattern in every place.
template <typename T>
bool expert_is_right(const mxfp4::PackedTensorView& tensor, std::size_t expert, Order order,
                     const std::vector<std::uint32_t>& patterns, const T* out) {
  out += expert * kRows * kColumns;
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t group = 0; group < kGroups; ++group) {
      const std::size_t index = (expert * kRows + row) * kGroups + group;
      const std::uint32_t* codes = patterns.data() + tensor.scales[index] * std::size_t{16};
      for (int i = 0; i < kBlockSize; ++i) {
        const int code = mxfp4::reference::code_at(tensor.blocks + index * kBlockBytes, i);
        const std::size_t column = group * kBlockSize + static_cast<std::size_t>(i);
        const std::size_t place =
            order == Order::rows ? row * kColumns + column : column * kRows + row;
        if (out[place] != codes[code]) return false;
      }
    }
  }
  return true;
}

bool is_right(const mxfp4::PackedTensorView& tensor, const Subject& subject, const std::byte* out) {
  const std::vector<std::uint32_t> patterns = reference_patterns(subject.dtype);
  for (std::size_t expert = 0; expert < tensor.experts; ++expert) {
    const bool right = subject.dtype == DType::F32
                           ? expert_is_right(tensor, expert, subject.order, patterns,
                                             reinterpret_cast<const std::uint32_t*>(out))
                           : expert_is_right(tensor, expert, subject.order, patterns,
                                             reinterpret_cast<const std::uint16_t*>(out));
    if (!right) return false;
  }
  return true;
}

// Fills whole lines past the cache; where the processor has no such stores, with its best others.
void store_past_cache(std::byte* out, std::size_t size) {
#if defined(__SSE2__)
  const __m128i value = _mm_set1_epi8(1);
  auto* vectors = reinterpret_cast<__m128i*>(out);
  for (std::size_t i = 0; i < size / sizeof value; ++i) _mm_stream_si128(vectors + i, value);
  _mm_sfence();
#else
  std::memset(out, 1, size);
#endif
}

// Each thread its part, from the first byte to the last.
void store_past_cache(std::byte* out, std::size_t size, int threads) {
  const std::size_t part = size / static_cast<std::size_t>(threads);
  run_workers(threads, {}, [&](int worker, std::stop_token) {
    store_past_cache(out + static_cast<std::size_t>(worker) * part, part);
  });
}

struct Row {
  Subject subject;
  Paired paired;
  double gbps;
  double denominator_gbps;
};

Row measure(const Weights& weights, const Subject& subject, int pairs, std::byte* out) {
  const mxfp4::PackedTensorView tensor = weights.view(expert_count(subject.dtype));
  const std::size_t size = tensor.experts * kRows * kColumns * size_of(subject.dtype);
  const auto decode = [&] {
    mxfp4::decode_tensor(tensor, subject.dtype, subject.order, out, subject.threads);
  };
  const Paired paired =
      run_paired(pairs, decode, [&] { store_past_cache(out, size, subject.threads); });
  store_past_cache(out, size, subject.threads);
  decode();
  if (!is_right(tensor, subject, out)) {
    throw std::runtime_error(std::string(subject.name) + ": the result is wrong");
  }
  const double gigabytes = static_cast<double>(size) / 1e9;
  return {subject, paired, gigabytes / paired.subject_seconds,
          gigabytes / paired.reference_seconds};
}

void print_row(const Row& row) {
  const auto bound = [](double value) { return value == 0 ? "-" : fmt::format("{:.2f}", value); };
  fmt::print("{:<24} {:>7} {:>7.3f} {:>9} {:>5} {:>7.1f} {:>12.1f}\n", row.subject.name,
             row.subject.threads, row.paired.ratio, bound(row.subject.at_least),
             bound(row.subject.aim), row.gbps, row.denominator_gbps);
  std::fflush(stdout);
}

nlohmann::json to_json(const Row& row) {
  const auto bound = [](double value) {
    return value == 0 ? nlohmann::json() : nlohmann::json(value);
  };
  return {{"name", row.subject.name},
          {"threads", row.subject.threads},
          {"ratio", row.paired.ratio},
          {"at_least", bound(row.subject.at_least)},
          {"aim", bound(row.subject.aim)},
          {"gbps", row.gbps},
          {"denominator_gbps", row.denominator_gbps}};
}

void run(int pairs, bool json) {
  const Weights weights;
  const std::shared_ptr<std::byte> out =
      allocate_bytes(expert_count(DType::F32) * kRows * kColumns * size_of(DType::F32));
  nlohmann::json rows = nlohmann::json::array();
  if (!json) {
    fmt::print("{}, {} threads available, kernels for {}\n", processor_name(), available_threads(),
               active_target());
    fmt::print("R={} G={}, median of {} pairs; GB/s of output, non-temporal stores beside it\n\n",
               kRows, kGroups, pairs);
    fmt::print("{:<24} {:>7} {:>7} {:>9} {:>5} {:>7} {:>12}\n", "", "threads", "ratio", "at least",
               "aim", "GB/s", "stores GB/s");
  }
  for (const Subject& subject : kSubjects) {
    const Row row = measure(weights, subject, pairs, out.get());
    if (json) {
      rows.push_back(to_json(row));
    } else {
      print_row(row);
    }
  }
  if (json) fmt::print("{}\n", rows.dump(2));
}

}  // namespace
}  // namespace mxferry::bench

int main(int argc, char** argv) {
  CLI::App app("Decoding MXFP4 in memory, against the bandwidth of the memory");
  int pairs = 9;
  bool json = false;
  app.add_option("--pairs", pairs, "Paired runs of each row")->check(CLI::Range(9, 1000));
  app.add_flag("--json", json, "Print rows for a program");
  CLI11_PARSE(app, argc, argv);
  try {
    mxferry::bench::run(pairs, json);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
