// How close the kernels come in memory to what the memory itself can do, on as many threads: for
// decoding the bandwidth of non-temporal stores of the same bytes as it writes, for encoding the
// bandwidth of reading the same bytes as it reads.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
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
#include "mxfp4/encode.h"
#include "mxfp4/encode_reference.h"
#include "mxfp4/reference.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mxferry::internal::bench {
namespace {

using mxfp4::Order;

// gate_up_proj of gpt-oss-20b.
constexpr std::size_t kRows = 5760;
constexpr std::size_t kGroups = 90;
constexpr std::size_t kColumns = kGroups * kBlockSize;
constexpr std::size_t kDenseBytes = 1'000'000'000;

enum class Task { move, decode, encode };

struct Subject {
  const char* name;
  Task task;
  DType dtype;
  Order order;
  int threads;
  double at_least;
  double aim;
  QuantMode mode = QuantMode::gptoss;
};

const char* denominator_of(const Subject& subject) {
  return subject.task == Task::encode ? "read" : "store";
}

// A bound of 0 is none.
constexpr std::array kSubjects = {
    // No decoding: a plain loop that reads as much and stores as much.
    Subject{"packed bytes read, BF16 stored", Task::move, DType::BF16, Order::rows, 1, 0, 0},
    Subject{"packed bytes read, BF16 stored", Task::move, DType::BF16, Order::rows, 2, 0, 0},
    Subject{"packed bytes read, FP32 stored", Task::move, DType::F32, Order::rows, 2, 0, 0},
    Subject{"decode BF16 transposed", Task::decode, DType::BF16, Order::transposed, 1, 0.76, 0.90},
    Subject{"decode BF16 transposed", Task::decode, DType::BF16, Order::transposed, 2, 0.92, 0.97},
    Subject{"decode FP32 transposed", Task::decode, DType::F32, Order::transposed, 1, 0, 0},
    Subject{"decode FP32 transposed", Task::decode, DType::F32, Order::transposed, 2, 0.94, 0.98},
    Subject{"decode FP16 transposed", Task::decode, DType::F16, Order::transposed, 1, 0, 0},
    Subject{"decode FP16 transposed", Task::decode, DType::F16, Order::transposed, 2, 0.80, 0.95},
    Subject{"decode BF16", Task::decode, DType::BF16, Order::rows, 1, 0, 0},
    Subject{"decode BF16", Task::decode, DType::BF16, Order::rows, 2, 0.92, 1.00},
    Subject{"encode BF16 transposed", Task::encode, DType::BF16, Order::transposed, 1, 0.40, 0.60},
    Subject{"encode BF16 transposed", Task::encode, DType::BF16, Order::transposed, 2, 0.46, 0.70},
    Subject{"encode FP32 transposed", Task::encode, DType::F32, Order::transposed, 2, 0, 0},
    Subject{"encode FP16 transposed", Task::encode, DType::F16, Order::transposed, 2, 0, 0},
    Subject{"encode BF16 transposed, best", Task::encode, DType::BF16, Order::transposed, 2, 0, 0,
            QuantMode::best},
    Subject{"encode BF16", Task::encode, DType::BF16, Order::rows, 2, 0, 0},
};

std::size_t size_of(DType dtype) {
  return static_cast<std::size_t>(bits(dtype)) / 8;
}

// As many experts as fill kDenseBytes.
std::size_t expert_count(DType dtype) {
  const std::size_t expert_bytes = kRows * kColumns * size_of(dtype);
  return (kDenseBytes + expert_bytes - 1) / expert_bytes;
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
// A fence must follow.
void store_past_cache(std::byte* out, std::size_t size) {
#if defined(__SSE2__)
  const __m128i value = _mm_set1_epi8(1);
  auto* vectors = reinterpret_cast<__m128i*>(out);
  for (std::size_t i = 0; i < size / sizeof value; ++i) _mm_stream_si128(vectors + i, value);
#else
  std::memset(out, 1, size);
#endif
}

void fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Each thread its part, from the first byte to the last.
void store_past_cache(std::byte* out, std::size_t size, int threads) {
  const std::size_t part = size / static_cast<std::size_t>(threads);
  run_workers(threads, {}, [&](int worker, std::stop_token) {
    store_past_cache(out + static_cast<std::size_t>(worker) * part, part);
    fence();
  });
}

std::uint64_t sum_of_words(const std::byte* in, std::size_t size) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(in);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < size / sizeof sum; ++i) sum += words[i];
  return sum;
}

// Each thread its part. The sum goes where the compiler cannot leave it out.
void read_all(const std::byte* in, std::size_t size, int threads) {
  static std::atomic<std::uint64_t> sum;
  const std::size_t part = size / static_cast<std::size_t>(threads);
  run_workers(threads, {}, [&](int worker, std::stop_token) {
    sum += sum_of_words(in + static_cast<std::size_t>(worker) * part, part);
  });
}

// The traffic of a decode: packed bytes are read in between, a few lines at a time.
void read_and_store(const std::byte* in, std::size_t in_size, std::byte* out, std::size_t size,
                    int threads) {
  static std::atomic<std::uint64_t> sum;
  constexpr std::size_t kStored = 4096;  // at a time
  const std::size_t pieces = size / kStored;
  const std::size_t read = in_size / pieces / sizeof(std::uint64_t) * sizeof(std::uint64_t);
  run_workers(threads, {}, [&](int worker, std::stop_token) {
    const auto first =
        static_cast<std::size_t>(worker) * pieces / static_cast<std::size_t>(threads);
    const auto end =
        static_cast<std::size_t>(worker + 1) * pieces / static_cast<std::size_t>(threads);
    std::uint64_t mine = 0;
    for (std::size_t piece = first; piece < end; ++piece) {
      mine += sum_of_words(in + piece * read, read);
      store_past_cache(out + piece * kStored, kStored);
    }
    fence();
    sum += mine;
  });
}

// The weights of one expert, in every place, so that the reference need not encode them all.
template <typename T>
void fill_dense(DType dtype, std::size_t experts, std::byte* out) {
  constexpr std::uint64_t kSeed = 21;
  constexpr double kDeviation = 0.02;  // as in a trained model
  constexpr std::size_t kCount = kRows * kColumns;
  std::mt19937_64 random(kSeed);
  std::normal_distribution<double> weights(0, kDeviation);
  T* typed_out = reinterpret_cast<T*>(out);
  for (std::size_t i = 0; i < kCount; ++i) {
    typed_out[i] = static_cast<T>(mxfp4::reference::round_to(dtype, weights(random)));
  }
  for (std::size_t expert = 1; expert < experts; ++expert) {
    std::memcpy(typed_out + expert * kCount, typed_out, kCount * sizeof(T));
  }
}

mxfp4::DenseTensorView fill_dense(const Subject& subject, std::byte* out) {
  const std::size_t experts = expert_count(subject.dtype);
  if (subject.dtype == DType::F32) {
    fill_dense<std::uint32_t>(subject.dtype, experts, out);
  } else {
    fill_dense<std::uint16_t>(subject.dtype, experts, out);
  }
  return {out, subject.dtype, subject.order, experts, kRows, kColumns};
}

// What encoding writes.
class Packed {
 public:
  explicit Packed(std::size_t experts)
      : experts_(experts),
        blocks_(allocate_bytes(experts * kBlocksSize)),
        scales_(allocate_bytes(experts * kScalesSize)) {}

  std::uint8_t* blocks() const { return reinterpret_cast<std::uint8_t*>(blocks_.get()); }
  std::uint8_t* scales() const { return reinterpret_cast<std::uint8_t*>(scales_.get()); }

  void clear() const {
    std::memset(blocks(), 0, experts_ * kBlocksSize);
    std::memset(scales(), 0, experts_ * kScalesSize);
  }

  bool is_right(const mxfp4::DenseTensorView& dense, QuantMode mode) const {
    const Packed expected(1);
    mxfp4::reference::encode(
        mxfp4::expert_of(dense, 0), {.mode = mode},
        {expected.blocks(), kGroups * kBlockBytes, expected.scales(), kGroups});
    for (std::size_t i = 0; i < experts_; ++i) {
      if (std::memcmp(blocks() + i * kBlocksSize, expected.blocks(), kBlocksSize) != 0 ||
          std::memcmp(scales() + i * kScalesSize, expected.scales(), kScalesSize) != 0) {
        return false;
      }
    }
    return true;
  }

 private:
  // Of one expert.
  static constexpr std::size_t kScalesSize = kRows * kGroups;
  static constexpr std::size_t kBlocksSize = kScalesSize * kBlockBytes;

  std::size_t experts_;
  std::shared_ptr<std::byte> blocks_;
  std::shared_ptr<std::byte> scales_;
};

struct Row {
  Subject subject;
  Paired paired;
  double gbps;
  double denominator_gbps;
};

Row row_of(const Subject& subject, const Paired& paired, std::size_t size, bool is_right) {
  if (!is_right) throw std::runtime_error(std::string(subject.name) + ": the result is wrong");
  const double gigabytes = static_cast<double>(size) / 1e9;
  return {subject, paired, gigabytes / paired.subject_seconds,
          gigabytes / paired.reference_seconds};
}

Row measure_encode(const Subject& subject, int pairs, std::byte* dense_bytes) {
  const mxfp4::DenseTensorView dense = fill_dense(subject, dense_bytes);
  const std::size_t size = dense.experts * kRows * kColumns * size_of(subject.dtype);
  const Packed packed(dense.experts);
  const auto encode = [&] {
    mxfp4::encode_tensor(dense, subject.mode, nullptr, packed.blocks(), packed.scales(),
                         subject.threads);
  };
  const Paired paired =
      run_paired(pairs, encode, [&] { read_all(dense_bytes, size, subject.threads); });
  packed.clear();
  encode();
  return row_of(subject, paired, size, packed.is_right(dense, subject.mode));
}

Row measure_decode(const Weights& weights, const Subject& subject, int pairs, std::byte* out) {
  const mxfp4::PackedTensorView tensor = weights.view(expert_count(subject.dtype));
  const std::size_t size = tensor.experts * kRows * kColumns * size_of(subject.dtype);
  const auto decode = [&] {
    mxfp4::decode_tensor(tensor, subject.dtype, subject.order, out, subject.threads);
  };
  const Paired paired =
      run_paired(pairs, decode, [&] { store_past_cache(out, size, subject.threads); });
  store_past_cache(out, size, subject.threads);
  decode();
  return row_of(subject, paired, size, is_right(tensor, subject, out));
}

Row measure_move(const Weights& weights, const Subject& subject, int pairs, std::byte* out) {
  const mxfp4::PackedTensorView tensor = weights.view(expert_count(subject.dtype));
  const std::size_t size = tensor.experts * kRows * kColumns * size_of(subject.dtype);
  const auto* blocks = reinterpret_cast<const std::byte*>(tensor.blocks);
  const std::size_t packed = tensor.experts * kRows * kGroups * kBlockBytes;
  const auto move = [&] { read_and_store(blocks, packed, out, size, subject.threads); };
  const Paired paired =
      run_paired(pairs, move, [&] { store_past_cache(out, size, subject.threads); });
  return row_of(subject, paired, size, true);
}

Row measure(const Weights& weights, const Subject& subject, int pairs, std::byte* dense) {
  switch (subject.task) {
    case Task::move:
      return measure_move(weights, subject, pairs, dense);
    case Task::decode:
      return measure_decode(weights, subject, pairs, dense);
    default:
      return measure_encode(subject, pairs, dense);
  }
}

void print_row(const Row& row) {
  const auto bound = [](double value) { return value == 0 ? "-" : fmt::format("{:.2f}", value); };
  fmt::print("{:<30} {:>7} {:>7.3f} {:>9} {:>5} {:>7.1f} {:>7} {:>7.1f}\n", row.subject.name,
             row.subject.threads, row.paired.ratio, bound(row.subject.at_least),
             bound(row.subject.aim), row.gbps, denominator_of(row.subject), row.denominator_gbps);
  std::fflush(stdout);
}

nlohmann::json to_json(const Row& row) {
  const auto bound = [](double value) {
    return value == 0 ? nlohmann::json() : nlohmann::json(value);
  };
  return {{"name", row.subject.name},
          {"threads", row.subject.threads},
          {"ratio", row.paired.ratio},
          {"denominator", denominator_of(row.subject)},
          {"at_least", bound(row.subject.at_least)},
          {"aim", bound(row.subject.aim)},
          {"gbps", row.gbps},
          {"denominator_gbps", row.denominator_gbps}};
}

void run(int pairs, bool json) {
  const Weights weights;
  const std::shared_ptr<std::byte> dense =
      allocate_bytes(expert_count(DType::F32) * kRows * kColumns * size_of(DType::F32));
  nlohmann::json rows = nlohmann::json::array();
  if (!json) {
    fmt::print("{}, {} threads available, kernels for {}\n", processor_name(), available_threads(),
               active_target());
    fmt::print(
        "R={} G={}, median of {} pairs; GB/s of dense weights, of storing or reading as much "
        "beside it\n\n",
        kRows, kGroups, pairs);
    fmt::print("{:<30} {:>7} {:>7} {:>9} {:>5} {:>7} {:>7} {:>7}\n", "", "threads", "ratio",
               "at least", "aim", "GB/s", "of", "GB/s");
  }
  for (const Subject& subject : kSubjects) {
    const Row row = measure(weights, subject, pairs, dense.get());
    if (json) {
      rows.push_back(to_json(row));
    } else {
      print_row(row);
    }
  }
  if (json) fmt::print("{}\n", rows.dump(2));
}

}  // namespace
}  // namespace mxferry::internal::bench

int main(int argc, char** argv) {
  CLI::App app("MXFP4 in memory, against the bandwidth of the memory");
  int pairs = 9;
  bool json = false;
  app.add_option("--pairs", pairs, "Paired runs of each row")->check(CLI::Range(9, 1000));
  app.add_flag("--json", json, "Print rows for a program");
  CLI11_PARSE(app, argc, argv);
  try {
    mxferry::internal::bench::run(pairs, json);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
