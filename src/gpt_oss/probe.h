#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gpt_oss/config_facts.h"
#include "gpt_oss/layout_table.h"
#include "gpt_oss/parameter.h"
#include "mxferry/config.h"
#include "mxferry/inspect.h"
#include "mxferry/layout.h"
#include "recipe/catalog.h"
#include "recipe/recipe.h"

namespace mxferry::internal {

// How the source stores a parameter.
struct StoredForm {
  bool packed = false;
  std::size_t tensor = 0;               // index into the catalog; the blocks if packed
  std::size_t scales = 0;               // packed only
  DType dtype = DType::BF16;            // of a dense parameter
  AxisOrder order = AxisOrder::out_in;  // of a dense expert weight
  std::int64_t first_row = 0;           // in a fused tensor
  std::string_view order_from = {};     // how `order` is known, for people
  bool tied = false;                    // a head whose tensor is the embedding's
};

struct SourceParameter {
  Parameter parameter;
  Shape shape;  // logical: [n], [out, in] or [expert, out, in]
  StoredForm form;
};

struct MissingName {
  std::string tensor;
  std::string file;
  bool file_exists = false;
};

// The axis order of square expert weights, from sources other than names and shapes.
struct Orientations {
  std::optional<AxisOrder> forced;            // by the user, for all of them
  std::map<std::size_t, AxisOrder> measured;  // by catalog index, from the weights
};

// Everything that planning needs to know about a source; a function of names, dtypes, shapes, the
// config and the given orientations.
struct Description {
  std::optional<Layout> layout;  // nullopt: not a gpt-oss checkpoint, and a problem says so
  std::string layout_reason;     // how it was recognized, for people
  std::string attn = "flex";     // "te" if sinks have TE's name
  bool packed = false;           // some expert weight is MXFP4
  GptOssConfig config;           // as given, completed from the shapes
  std::string writer;            // ConfigFacts::writer
  std::vector<SourceParameter> parameters;  // in the catalog's order
  // Dense expert weights whose shape does not tell their axis order, as indices into the catalog.
  std::vector<std::size_t> square;
  std::vector<std::size_t> unknown;  // tensors that the layout does not know
  std::vector<Problem> problems;
};

// `missing`: index entries without a tensor. `config`: the contents of config.json.
Description probe(const Catalog& catalog, const std::vector<MissingName>& missing,
                  const ConfigFacts& config, const Orientations& orientations = {});

}  // namespace mxferry::internal
