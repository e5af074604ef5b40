#pragma once

#include <vector>

#include "gpt_oss/parameter.h"
#include "mxferry/config.h"
#include "mxferry/tensor.h"

namespace mxferry::internal {

// A stored tensor's shape and the parameter that it belongs to.
struct NamedShape {
  ParameterKind kind = ParameterKind::embedding;
  bool blocks = false;  // [E, out, in / 32, 16]
  bool fused = false;   // query, key and value in one
  Shape shape;
};

// Fills in the sizes that the config leaves at 0 from the shapes, if these determine them; never
// contradicts the config.
void complete_geometry(GptOssConfig& config, const std::vector<NamedShape>& shapes);

}  // namespace mxferry::internal
