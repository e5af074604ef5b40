#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "flow/source.h"
#include "flow/stored_side.h"
#include "flow/tile.h"
#include "mxferry/difference.h"

namespace mxferry::internal {

// One parameter of two checkpoints, [experts, rows, columns] logically: rows are the output and
// columns the input dimension; a vector is [1, 1, n]. Where a side is packed, columns are a
// multiple of 32.
struct Comparison {
  StoredSide a, b;
  std::int64_t experts = 1;
  std::int64_t rows = 1;
  std::int64_t columns = 0;
};

struct ComparisonResult {
  std::vector<Difference> experts;  // by expert
  std::optional<WeightPair> worst;  // with the largest absolute error
  bool bytes_identical = true;      // stored alike, and no byte differs

  Difference total() const noexcept;
};

struct ComparisonOptions {
  int threads = 1;
  TileLimits limits = {};
  std::stop_token stop = {};
  // Called with the bytes of both sides compared so far, from any worker, never concurrently.
  std::function<void(std::uint64_t bytes)> progress = {};
};

struct ComparisonReport {
  std::vector<ComparisonResult> results;                  // by comparison
  std::array<std::uint64_t, 256> scales_a{}, scales_b{};  // blocks with each scale
};

// Reads both sides once, tile by tile, decoded to BF16 if that holds every value of both, else to
// FP32. The results do not depend on the order in which tiles are processed. Throws what the
// sources throw, and Error(cancelled).
ComparisonReport run_comparisons(const std::vector<Comparison>& comparisons, const Source& a,
                                 const Source& b, const ComparisonOptions& options);

// The bytes of one worker's buffers.
std::size_t comparison_scratch(const std::vector<Comparison>& comparisons,
                               const TileLimits& limits) noexcept;

// Stored bytes of both sides.
std::uint64_t compared_bytes(const Comparison& comparison) noexcept;

// Whether B holds the square matrices of A transposed, exactly or approximately: a sample of the
// first expert agrees when transposed and not as it is. For parameters that were found to differ.
// False if the numbers of rows and columns differ.
bool is_transposed(const Comparison& comparison, const Source& a, const Source& b);

// Likewise whether B holds first the even rows of A, then the odd ones: gate and up as halves where
// A has them in turn.
bool has_halves(const Comparison& comparison, const Source& a, const Source& b);

}  // namespace mxferry::internal
