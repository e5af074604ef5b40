#pragma once

#include <rapidcheck.h>

#include "flow/tile.h"
#include "mxferry/mxfp4.h"
#include "recipe/recipe.h"

namespace mxferry::internal::testing {

inline DType any_float() {
  return *rc::gen::element(DType::BF16, DType::F16, DType::F32);
}

// As the planner makes them: vectors for `copy` and `cast`, [experts, rows, columns] otherwise.
// Catalog indexes and offsets are 0.
inline Recipe any_recipe(std::int64_t most_rows) {
  Recipe recipe;
  recipe.operation = *rc::gen::element(Operation::copy, Operation::cast, Operation::transpose,
                                       Operation::decode, Operation::encode);
  recipe.from = any_float();
  recipe.to = any_float();
  recipe.source_order = *rc::gen::element(AxisOrder::out_in, AxisOrder::in_out);
  recipe.target_order = *rc::gen::element(AxisOrder::out_in, AxisOrder::in_out);
  recipe.columns = *rc::gen::inRange<std::int64_t>(0, 200);
  if (recipe.operation == Operation::copy || recipe.operation == Operation::cast) return recipe;
  recipe.experts = *rc::gen::inRange<std::int64_t>(0, 4);
  recipe.rows = *rc::gen::inRange<std::int64_t>(1, most_rows);
  if (recipe.operation == Operation::decode || recipe.operation == Operation::encode) {
    (recipe.operation == Operation::decode ? recipe.from : recipe.to) = DType::U8;
    recipe.columns = kBlockSize * *rc::gen::inRange<std::int64_t>(1, 7);
  }
  return recipe;
}

inline TileLimits any_limits() {
  return {.source_bytes = *rc::gen::inRange<std::size_t>(0, 30'000),
          .target_bytes = *rc::gen::inRange<std::size_t>(0, 20'000),
          .parts = *rc::gen::inRange<std::int64_t>(1, 12)};
}

}  // namespace mxferry::internal::testing
