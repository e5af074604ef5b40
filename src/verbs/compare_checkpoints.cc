#include "verbs/compare_checkpoints.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/natural_order.h"
#include "flow/compare.h"
#include "gpt_oss/plan.h"
#include "mxferry/error.h"
#include "verbs/memory_limits.h"

namespace mxferry::internal {
namespace {

// Identifies a parameter on both sides. Leaves out the prefix, which may differ and tells nothing
// but the layer.
using Key = std::tuple<ParameterKind, std::optional<std::int64_t>>;

Key key_of(const SourceParameter& parameter) {
  return {parameter.parameter.kind, parameter.parameter.layer};
}

std::string codec_name(const StoredForm& form) {
  if (form.packed) return "mxfp4";
  const std::optional<Codec> codec = dense_codec(form.dtype);
  return std::string(codec ? name(*codec) : name(form.dtype));
}

StoredSide side_of(const SourceParameter& parameter) {
  const StoredForm& form = parameter.form;
  const std::int64_t row_elements = parameter.shape.size() < 2 ? 1 : parameter.shape[1];
  return {.packed = form.packed,
          .tensor = form.tensor,
          .scales = form.scales,
          .dtype = form.dtype,
          .order = form.order,
          .offset = static_cast<std::uint64_t>(form.first_row * row_elements) *
                    static_cast<std::uint64_t>(bits(form.dtype)) / 8};
}

// Pairs the two sides' parameters, and their tensors with unknown names.
class Pairing {
 public:
  Pairing(const SourceCheckpoint& a, const SourceCheckpoint& b, VerifyReport& report)
      : a_(a), b_(b), report_(report) {}

  void run() {
    pair_parameters();
    pair_unknown();
    order_by_name();
  }

  std::vector<Comparison> comparisons;  // in the order of report.parameters

 private:
  void pair_parameters();
  void pair_unknown();
  void pair(const SourceParameter& a, const SourceParameter& b);
  void order_by_name();

  const std::string& name_a(std::size_t tensor) const { return a_.catalog[tensor].name; }
  const std::string& name_b(std::size_t tensor) const { return b_.catalog[tensor].name; }

  const SourceCheckpoint& a_;
  const SourceCheckpoint& b_;
  VerifyReport& report_;
};

void Pairing::pair_parameters() {
  std::multimap<Key, const SourceParameter*> of_a;
  for (const SourceParameter& parameter : a_.description.parameters) {
    of_a.emplace(key_of(parameter), &parameter);
  }
  for (const SourceParameter& parameter : b_.description.parameters) {
    // Among several with different prefixes, prefer the one with the same prefix.
    const auto [begin, end] = of_a.equal_range(key_of(parameter));
    auto found = std::find_if(begin, end, [&](const auto& entry) {
      return entry.second->parameter.prefix == parameter.parameter.prefix;
    });
    if (found == end) found = begin;
    if (found == end) {
      report_.only_b.push_back(name_b(parameter.form.tensor));
      continue;
    }
    pair(*found->second, parameter);
    of_a.erase(found);
  }
  for (const auto& [key, parameter] : of_a) {
    report_.only_a.push_back(name_a(parameter->form.tensor));
  }
}

void Pairing::pair(const SourceParameter& a, const SourceParameter& b) {
  const std::string& first = name_a(a.form.tensor);
  const std::string& second = name_b(b.form.tensor);
  if (a.shape != b.shape) {
    report_.mismatched.push_back(first + " is " + to_string(a.shape) + ", " + second + " is " +
                                 to_string(b.shape));
    return;
  }
  report_.parameters.push_back({.tensor_a = first,
                                .tensor_b = second,
                                .kind = description(a.parameter.kind),
                                .layer = a.parameter.layer,
                                .shape = a.shape,
                                .codec_a = codec_name(a.form),
                                .codec_b = codec_name(b.form),
                                .total = {},
                                .experts = {},
                                .worst = {}});
  comparisons.push_back(comparison_of(a, b));
}

// Pairs by name; compares as numbers if both have the same float dtype, else as bytes.
void Pairing::pair_unknown() {
  std::map<std::string_view, std::size_t> of_a;
  for (const std::size_t tensor : a_.description.unknown) of_a.emplace(name_a(tensor), tensor);
  for (const std::size_t tensor : b_.description.unknown) {
    const auto found = of_a.find(name_b(tensor));
    if (found == of_a.end()) {
      report_.only_b.push_back(name_b(tensor));
      continue;
    }
    const StoredTensor& first = a_.catalog[found->second];
    const StoredTensor& second = b_.catalog[tensor];
    of_a.erase(found);
    if (first.dtype != second.dtype || first.shape != second.shape) {
      report_.mismatched.push_back(
          first.name + " is " + std::string(name(first.dtype)) + " " + to_string(first.shape) +
          " in A, " + std::string(name(second.dtype)) + " " + to_string(second.shape) + " in B");
      continue;
    }
    const std::string codec(name(first.dtype));
    report_.parameters.push_back({.tensor_a = first.name,
                                  .tensor_b = second.name,
                                  .kind = "",
                                  .layer = {},
                                  .shape = first.shape,
                                  .codec_a = codec,
                                  .codec_b = codec,
                                  .total = {},
                                  .experts = {},
                                  .worst = {}});
    const DType dtype = is_dense_float(first.dtype) ? first.dtype : DType::U8;
    const auto size = static_cast<std::uint64_t>(bits(dtype)) / 8;
    const auto count = static_cast<std::int64_t>(first.byte_count / size);
    comparisons.push_back(
        {.a = {.tensor = static_cast<std::size_t>(&first - a_.catalog.data()), .dtype = dtype},
         .b = {.tensor = tensor, .dtype = dtype},
         .columns = count});
  }
  for (const auto& [name, tensor] : of_a) report_.only_a.emplace_back(name);
}

void Pairing::order_by_name() {
  std::vector<std::size_t> order(comparisons.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, [&](std::size_t x, std::size_t y) {
    return natural_less(report_.parameters[x].tensor_b, report_.parameters[y].tensor_b);
  });
  std::vector<ComparedParameter> parameters;
  std::vector<Comparison> sorted;
  for (const std::size_t i : order) {
    parameters.push_back(std::move(report_.parameters[i]));
    sorted.push_back(comparisons[i]);
  }
  report_.parameters = std::move(parameters);
  comparisons = std::move(sorted);
  std::ranges::sort(report_.only_a, natural_less);
  std::ranges::sort(report_.only_b, natural_less);
}

std::uint64_t header_bytes(const SourceCheckpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const ShardFile& shard : checkpoint.folder.shards) bytes += shard.header.data_offset;
  return bytes;
}

void add_result(const Comparison& comparison, ComparisonResult result, const Source& a,
                const Source& b, ComparedParameter& parameter) {
  parameter.total = result.total();
  parameter.worst = result.worst;
  parameter.bytes_identical = result.bytes_identical;
  const bool has_experts = parameter.shape.size() == 3 && !parameter.kind.empty();
  if (has_experts) parameter.experts = std::move(result.experts);
  if (parameter.total.different == 0) return;
  parameter.transposed = is_transposed(comparison, a, b);
  const bool has_gate_and_up = parameter.kind == description(ParameterKind::gate_up_weight);
  parameter.halves = has_gate_and_up && has_halves(comparison, a, b);
}

}  // namespace

Comparison comparison_of(const SourceParameter& a, const SourceParameter& b) {
  const Shape& shape = a.shape;
  const std::size_t rank = shape.size();
  return {.a = side_of(a),
          .b = side_of(b),
          .experts = rank == 3 ? shape[0] : 1,
          .rows = rank >= 2 ? shape[rank - 2] : 1,
          .columns = shape[rank - 1]};
}

VerifyReport compare_checkpoints(const SourceCheckpoint& a, const SourceCheckpoint& b,
                                 const VerifyOptions& options) {
  VerifyReport report;
  report.a = a.folder.path;
  report.b = b.folder.path;
  report.layout_a = *a.description.layout;
  report.layout_b = *b.description.layout;
  for (const SourceCheckpoint* side : {&a, &b}) {
    for (Problem problem : side->problems) {
      problem.file = (side->folder.path / problem.file).string();
      report.warnings.push_back(std::move(problem));
    }
  }
  Pairing pairing(a, b, report);
  pairing.run();
  std::uint64_t bytes_total = 0;
  for (const Comparison& comparison : pairing.comparisons)
    bytes_total += compared_bytes(comparison);
  const auto scratch_bytes = [&](const TileLimits& limits) {
    return comparison_scratch(pairing.comparisons, limits);
  };
  const MemoryFit fit = fit_memory(scratch_bytes, options.threads, options.max_memory,
                                   header_bytes(a) + header_bytes(b));
  const FileSource source_a(a.catalog, open_shards(a));
  const FileSource source_b(b.catalog, open_shards(b));
  ComparisonOptions flow{
      .threads = fit.threads, .limits = fit.limits, .stop = options.stop, .progress = {}};
  if (options.progress) {
    flow.progress = [&](std::uint64_t bytes) { options.progress({bytes, bytes_total}); };
  }
  ComparisonReport compared = run_comparisons(pairing.comparisons, source_a, source_b, flow);
  for (std::size_t i = 0; i < compared.results.size(); ++i) {
    add_result(pairing.comparisons[i], std::move(compared.results[i]), source_a, source_b,
               report.parameters[i]);
    report.total += report.parameters[i].total;
  }
  report.scales_a = compared.scales_a;
  report.scales_b = compared.scales_b;
  report.bytes_read = bytes_total;
  if (options.progress) options.progress({bytes_total, bytes_total});
  return report;
}

}  // namespace mxferry::internal
