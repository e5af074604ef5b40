#include "verbs/reference_experts.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/memory.h"
#include "flow/sizes.h"
#include "flow/stored_side.h"
#include "mxferry/mxfp4.h"
#include "verbs/compare_checkpoints.h"

namespace mxferry::internal {
namespace {

// Of each expert: rows of its first columns.
constexpr std::int64_t kRows = 8;
constexpr std::int64_t kColumns = kBlockSize;

using Sample = std::vector<float>;

// A sample of each expert of one side.
std::vector<Sample> samples_of(const Source& source, const StoredSide& side, const Shape& shape) {
  const std::int64_t rows = std::min(kRows, shape[1]);
  const std::int64_t columns = std::min(kColumns, shape[2]);
  const auto weights = to_size(rows * columns);
  const auto buffer = [&](std::size_t bytes) { return allocate_bytes(bytes); };
  const auto packed = buffer(to_size(rows * (shape[2] / kBlockSize) * (kBlockBytes + 1)));
  const auto raw = buffer(weights * sizeof(float));
  const auto spare = buffer(weights * sizeof(float));
  const auto out = buffer(weights * sizeof(float));
  SideReader reader(source, side, shape[1], shape[2], DType::F32,
                    {.packed = packed.get(), .raw = raw.get(), .spare = spare.get()});
  std::vector<Sample> samples;
  for (std::int64_t expert = 0; expert < shape[0]; ++expert) {
    reader.open(expert, 0, rows);
    reader.load({expert, 0, rows, 0, columns}, true, out.get());
    const auto* const first = reinterpret_cast<const float*>(out.get());
    samples.emplace_back(first, first + weights);
  }
  return samples;
}

// The most similar sample; nullopt if none is the same expert, perhaps trained: 12 dB, where
// unrelated ones are at about -3.
std::optional<std::int64_t> find_expert(const Sample& wanted, const std::vector<Sample>& known) {
  constexpr double kLargestError = 0.063;  // of the signal
  double signal = 0;
  for (const float x : wanted) signal += static_cast<double>(x) * x;
  std::optional<std::int64_t> best;
  double least = signal * kLargestError;
  for (std::size_t i = 0; i < known.size(); ++i) {
    double error = 0;
    for (std::size_t j = 0; j < wanted.size(); ++j) {
      const double d = static_cast<double>(wanted[j]) - known[i][j];
      error += d * d;
    }
    if (!(error <= least) || (error == least && best)) continue;
    least = error;
    best = static_cast<std::int64_t>(i);
  }
  return best;
}

const SourceParameter* find(const Description& description, ParameterKind kind,
                            const std::optional<std::int64_t>& layer) {
  const auto found = std::ranges::find_if(description.parameters, [&](const SourceParameter& p) {
    return p.parameter.kind == kind && p.parameter.layer == layer;
  });
  return found == description.parameters.end() ? nullptr : &*found;
}

}  // namespace

ReferenceExperts find_reference_experts(const SourceCheckpoint& source,
                                        const SourceCheckpoint& reference,
                                        std::vector<Problem>& notes) {
  const FileSource own(source.catalog, open_shards(source));
  const FileSource known(reference.catalog, open_shards(reference));
  ReferenceExperts result;
  std::size_t found = 0;
  std::size_t all = 0;
  for (const SourceParameter& mine : source.description.parameters) {
    if (mine.parameter.kind != ParameterKind::gate_up_weight || mine.form.packed) continue;
    const auto in_reference = [&](ParameterKind kind) {
      return find(reference.description, kind, mine.parameter.layer);
    };
    const SourceParameter* const theirs = in_reference(ParameterKind::gate_up_weight);
    if (theirs == nullptr || !theirs->form.packed || theirs->shape[0] <= mine.shape[0]) continue;
    if (theirs->shape[1] != mine.shape[1] || theirs->shape[2] != mine.shape[2]) continue;
    const Comparison sides = comparison_of(*theirs, mine);
    const std::vector<Sample> of_reference = samples_of(known, sides.a, theirs->shape);
    std::vector<std::int64_t> experts;
    for (const Sample& sample : samples_of(own, sides.b, mine.shape)) {
      const auto expert = find_expert(sample, of_reference);
      if (expert) ++found;
      experts.push_back(expert.value_or(static_cast<std::int64_t>(experts.size())));
    }
    all += experts.size();
    const SourceParameter* const down = in_reference(ParameterKind::down_weight);
    if (down != nullptr && down->form.packed) result[down->form.scales] = experts;
    result[theirs->form.scales] = std::move(experts);
  }
  if (all > 0) {
    notes.push_back({found < all ? Severity::warning : Severity::note, ErrorCode::wrong_shape, "",
                     "",
                     "the reference has more experts: " + std::to_string(found) + " of the " +
                         std::to_string(all) + " experts of all layers are found in it"});
  }
  return result;
}

void ReorderedExperts::read(std::size_t tensor, std::uint64_t offset,
                            std::span<std::byte> buffer) const {
  const auto experts = experts_.find(tensor);
  if (experts == experts_.end()) return reference_.read(tensor, offset, buffer);
  const StoredTensor& stored = catalog_[tensor];
  const std::uint64_t size = stored.byte_count / static_cast<std::uint64_t>(stored.shape[0]);
  while (!buffer.empty()) {
    const std::uint64_t within = offset % size;
    const auto expert = static_cast<std::uint64_t>(experts->second.at(offset / size));
    const std::size_t count = std::min<std::uint64_t>(buffer.size(), size - within);
    reference_.read(tensor, expert * size + within, buffer.first(count));
    offset += count;
    buffer = buffer.subspan(count);
  }
}

}  // namespace mxferry::internal
