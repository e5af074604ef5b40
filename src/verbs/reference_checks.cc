#include "verbs/reference_checks.h"

#include <algorithm>
#include <string>
#include <utility>

#include "flow/compare.h"
#include "flow/source.h"
#include "mxferry/layout.h"
#include "verbs/compare_checkpoints.h"

namespace mxferry::internal {
namespace {

using Pair = std::pair<const SourceParameter*, const SourceParameter*>;  // source's, reference's

// The dense weights of one kind in the first and the last layer that both have.
std::vector<Pair> pairs_of(ParameterKind kind, const Description& source,
                           const Description& reference) {
  std::vector<Pair> pairs;
  for (const SourceParameter& own : source.parameters) {
    if (own.parameter.kind != kind || own.form.packed) continue;
    const auto known = std::ranges::find_if(reference.parameters, [&](const SourceParameter& r) {
      return r.parameter.kind == kind && r.parameter.layer == own.parameter.layer &&
             r.shape == own.shape;
    });
    if (known != reference.parameters.end()) pairs.emplace_back(&own, &*known);
  }
  std::ranges::sort(pairs, {}, [](const Pair& pair) { return pair.first->parameter.layer; });
  if (pairs.size() > 2) pairs.erase(pairs.begin() + 1, pairs.end() - 1);
  return pairs;
}

}  // namespace

void check_against_reference(const SourceCheckpoint& source, const SourceCheckpoint& reference,
                             std::vector<Problem>& warnings) {
  const FileSource own(source.catalog, open_shards(source));
  const FileSource known(reference.catalog, open_shards(reference));
  const auto warn = [&](const SourceParameter& parameter, std::string text) {
    warnings.push_back({Severity::warning, ErrorCode::unknown_orientation, "",
                        source.catalog[parameter.form.tensor].name, std::move(text)});
  };
  for (const KindRow& row : kKindRows) {
    if (!row.packable) continue;
    for (const auto& [mine, theirs] :
         pairs_of(row.kind, source.description, reference.description)) {
      const Comparison comparison = comparison_of(*theirs, *mine);
      if (is_transposed(comparison, known, own)) {
        const AxisOrder order =
            mine->form.order == AxisOrder::out_in ? AxisOrder::in_out : AxisOrder::out_in;
        warn(*mine,
             "PROBABLY TRANSPOSED: the weights are those of the reference with rows and "
             "columns swapped; --orientation " +
                 std::string(name(order)) + " reads them that way");
      } else if (row.kind == ParameterKind::gate_up_weight && has_halves(comparison, known, own)) {
        warn(*mine,
             "PROBABLY HALVES: all rows of gate stand before all rows of up, where the "
             "reference has them in turn; the result would be another model. Save the "
             "weights again with gate and up in turn");
      }
    }
  }
}

}  // namespace mxferry::internal
