#include "source/reference_scales.h"

#include <algorithm>
#include <string>
#include <vector>

#include "mxferry/error.h"

namespace mxferry::internal {

std::size_t find_reference_scales(const SourceCheckpoint& reference, const SourceParameter& wanted,
                                  bool may_have_more_experts) {
  const std::vector<SourceParameter>& parameters = reference.description.parameters;
  const auto found = std::ranges::find_if(parameters, [&](const SourceParameter& candidate) {
    return candidate.parameter.kind == wanted.parameter.kind &&
           candidate.parameter.layer == wanted.parameter.layer && candidate.form.packed;
  });
  const std::string what =
      std::string("the ") + description(wanted.parameter.kind) +
      (wanted.parameter.layer ? " of layer " + std::to_string(*wanted.parameter.layer)
                              : std::string());
  if (found == parameters.end()) {
    throw Error(ErrorCode::missing_tensor,
                {.problem = "the reference has no MXFP4 weights for " + what,
                 .file = reference.folder.path,
                 .advice = "Give an MXFP4 checkpoint of the same model, or none"});
  }
  Shape shape = wanted.shape;
  if (may_have_more_experts && found->shape[0] > shape[0]) shape[0] = found->shape[0];
  if (found->shape != shape) {
    throw Error(ErrorCode::wrong_shape,
                {.problem = "the reference is of another model: " + what + " has another shape",
                 .file = reference.folder.path,
                 .expected = to_string(wanted.shape),
                 .found = to_string(found->shape)});
  }
  return found->form.scales;
}

}  // namespace mxferry::internal
