#include "gpt_oss/plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "base/checked.h"
#include "base/natural_order.h"
#include "gpt_oss/name_template.h"
#include "gpt_oss/stacks.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

std::string packable_layouts() {
  std::string names;
  for (const LayoutTable& table : layout_tables()) {
    if (can_pack(table.layout)) (names += names.empty() ? "" : ", ") += table.name;
  }
  return names;
}

class Planner {
 public:
  Planner(const Catalog& source, const Description& description, const Target& target)
      : source_(source), description_(description), target_(target) {
    if (!can_pack(target.layout) && target.dtype == Codec::mxfp4) {
      throw Error(
          ErrorCode::invalid_argument,
          {.problem = "the " + std::string(name(target.layout)) + " layout has no MXFP4 form",
           .expected = "dtype bf16, f16 or f32",
           .found = "mxfp4",
           .advice = "Use " + packable_layouts() + " for MXFP4"});
    }
    dequantizes_ = description.packed && target.dtype != Codec::mxfp4;
    if (target.dtype) {
      dtype_ = dense_dtype(*target.dtype);
    } else if (dequantizes_) {
      dtype_ = DType::BF16;
    }
  }

  Plan run() {
    for (const SourceParameter* parameter : in_table_order()) add(*parameter);
    for (const std::size_t tensor : description_.unknown) pass_through(tensor);
    check_fused();
    split_parameters();
    sort_targets();
    plan_.excluded = excluded_.size();
    plan_.dtype = target_.dense_dtype && !dtype_ ? target_.dense_dtype : dtype_;
    return std::move(plan_);
  }

 private:
  std::vector<const SourceParameter*> in_table_order() const;
  void add(const SourceParameter& parameter);
  void add_packed(const SourceParameter& parameter);
  void add_encoded(const SourceParameter& parameter);
  void add_dense(const SourceParameter& parameter, const std::string& name);
  // The place of a parameter in the target: a tensor and a byte offset into it.
  struct Place {
    std::size_t target = 0;
    std::uint64_t offset = 0;
  };
  std::optional<Place> find_place(const std::string& name, const LayoutRow& row, DType to,
                                  const Shape& shape, std::size_t source);
  Recipe dense_recipe(const SourceParameter& parameter, const Place& place, DType to,
                      AxisOrder order) const;
  void pass_through(std::size_t tensor);
  void check_fused() const;
  void split_parameters();
  void drop(const std::vector<bool>& is_out);
  void reorder(const std::vector<std::size_t>& order);
  void sort_targets();

  bool is_excluded(const std::string& name) {
    const bool excluded = target_.excluded && target_.excluded(name);
    if (excluded) excluded_.insert(name);
    return excluded;
  }

  // Not so for a template: its tensors are asked for when they have names.
  bool is_excluded_parameter(const std::string& name) {
    return !has_fields(name) && is_excluded(name);
  }

  [[noreturn]] static void refuse_second(const std::string& name);
  // Adds a target tensor and returns its index. Throws Error: name_collision, size_overflow.
  std::size_t new_target(std::string name, DType dtype, Shape shape);
  // The same for a parameter's tensor, whose name may be a template.
  std::size_t new_parameter(std::string name, DType dtype, Shape shape);
  // Adds a copy of a tensor to an empty target.
  void copy_whole(std::size_t tensor, std::size_t target);

  const Catalog& source_;
  const Description& description_;
  const Target& target_;
  bool dequantizes_ = false;
  std::optional<DType> dtype_;
  Plan plan_;
  std::map<std::string, std::size_t, std::less<>> names_;
  // Fused targets under construction: the kinds that each has so far.
  std::map<std::size_t, std::set<ParameterKind>> fused_parts_;
  std::set<std::string> excluded_;  // names in the target
};

std::uint64_t byte_count(DType dtype, const Shape& shape) {
  const auto count = checked_multiply(static_cast<std::uint64_t>(element_count(shape)),
                                      static_cast<std::uint64_t>(bits(dtype)));
  if (count) return *count / 8;
  throw Error(ErrorCode::size_overflow,
              {.problem = "a tensor of shape " + to_string(shape) + " is too large"});
}

void Planner::refuse_second(const std::string& name) {
  throw Error(ErrorCode::name_collision,
              {.problem = "two tensors of the source would have this name in the target",
               .tensor = name,
               .advice = "Leave one of them out with --exclude, or remove it"});
}

// A fused tensor holds its parts in the order of the target's rows, however their names in the
// source sort.
std::vector<const SourceParameter*> Planner::in_table_order() const {
  std::vector<const SourceParameter*> order;
  order.reserve(description_.parameters.size());
  for (const SourceParameter& parameter : description_.parameters) order.push_back(&parameter);
  const auto rows = layout_rows(target_.layout, target_.attn);
  std::ranges::stable_sort(order, {}, [&](const SourceParameter* parameter) {
    return std::ranges::find(rows, parameter->parameter.kind, &LayoutRow::kind) - rows.begin();
  });
  return order;
}

std::size_t Planner::new_target(std::string name, DType dtype, Shape shape) {
  const std::size_t index = plan_.target.size();
  if (!names_.emplace(name, index).second) refuse_second(name);
  const std::uint64_t bytes = byte_count(dtype, shape);
  plan_.target.push_back({std::move(name), dtype, std::move(shape), 0, 0, bytes});
  return index;
}

std::size_t Planner::new_parameter(std::string name, DType dtype, Shape shape) {
  const bool is_stack = has_fields(name);
  const std::size_t index = new_target(std::move(name), dtype, std::move(shape));
  if (is_stack) plan_.target[index].stacked = 1;
  return index;
}

void Planner::copy_whole(std::size_t tensor, std::size_t target) {
  const auto bytes = static_cast<std::int64_t>(source_[tensor].byte_count);
  plan_.recipes.push_back({.source = tensor, .target = target, .columns = bytes});
}

void Planner::pass_through(std::size_t tensor) {
  const std::string& name = source_[tensor].name;
  if (is_excluded(name)) return;
  plan_.passed_through.push_back(tensor);
  copy_whole(tensor, new_target(name, source_[tensor].dtype, source_[tensor].shape));
}

void Planner::add(const SourceParameter& parameter) {
  const Parameter& what = parameter.parameter;
  plan_.has_head |= what.kind == ParameterKind::head;
  const bool needs_head = target_.adds_tied_head || !layout_table(target_.layout).ties_head;
  if (parameter.form.tied && !needs_head) return;
  const bool to_packed = is_expert_weight(what.kind) && target_.dtype == Codec::mxfp4;
  const std::optional<std::string> name =
      tensor_name(target_.layout, target_.attn, what, to_packed ? Piece::blocks : Piece::dense);
  if (!name) {
    pass_through(parameter.form.tensor);
    if (parameter.form.packed) pass_through(parameter.form.scales);
    return;
  }
  if (!to_packed) {
    add_dense(parameter, *name);
    plan_.adds_head |= parameter.form.tied && names_.contains(*name);
    return;
  }
  plan_.packed = true;
  if (parameter.form.packed) return add_packed(parameter);
  add_encoded(parameter);
}

// Copies blocks and scales unchanged.
void Planner::add_packed(const SourceParameter& parameter) {
  const std::pair<Piece, std::size_t> pieces[] = {{Piece::blocks, parameter.form.tensor},
                                                  {Piece::scales, parameter.form.scales}};
  for (const auto& [piece, tensor] : pieces) {
    std::string name = *tensor_name(target_.layout, target_.attn, parameter.parameter, piece);
    if (is_excluded_parameter(name)) continue;
    const StoredTensor& stored = source_[tensor];
    copy_whole(tensor, new_parameter(std::move(name), stored.dtype, stored.shape));
  }
}

// Quantizes dense weights to blocks and scales.
void Planner::add_encoded(const SourceParameter& parameter) {
  const StoredForm& form = parameter.form;
  const Shape& shape = parameter.shape;
  const std::string& source = source_[form.tensor].name;
  if (shape[2] % kBlockSize != 0) {
    throw Error(ErrorCode::wrong_shape,
                {.problem = "weights of this input dimension have no MXFP4 form",
                 .tensor = source,
                 .expected = "a multiple of " + std::to_string(kBlockSize),
                 .found = std::to_string(shape[2])});
  }
  const auto name_of = [&](Piece piece) {
    return *tensor_name(target_.layout, target_.attn, parameter.parameter, piece);
  };
  std::string blocks = name_of(Piece::blocks);
  std::string scales = name_of(Piece::scales);
  // If one is a template, split_parameters() decides about both.
  const bool decides = !has_fields(blocks) && !has_fields(scales);
  const bool excludes_blocks = decides && is_excluded(blocks);
  if (decides && excludes_blocks != is_excluded(scales)) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "--exclude leaves out only one of blocks and scales",
                 .tensor = source,
                 .expected = "both or none of '" + blocks + "' and '" + scales + "'",
                 .found = "'" + (excludes_blocks ? blocks : scales) + "' left out"});
  }
  if (excludes_blocks) return;
  const std::int64_t groups = shape[2] / kBlockSize;
  Recipe recipe{.operation = Operation::encode,
                .source = form.tensor,
                .from = form.dtype,
                .source_order = form.order,
                .experts = shape[0],
                .rows = shape[1],
                .columns = shape[2]};
  recipe.target =
      new_parameter(std::move(blocks), DType::U8, {shape[0], shape[1], groups, kBlockBytes});
  recipe.target_scales = new_parameter(std::move(scales), DType::U8, {shape[0], shape[1], groups});
  if (target_.reference_scales) recipe.reference_scales = target_.reference_scales(parameter);
  plan_.recipes.push_back(recipe);
}

// Adds a vector, a matrix, or an expert weight whose target is dense.
void Planner::add_dense(const SourceParameter& parameter, const std::string& name) {
  const ParameterKind kind = parameter.parameter.kind;
  const StoredForm& form = parameter.form;
  const std::optional<DType> wanted =
      !is_expert_weight(kind) && target_.dense_dtype ? target_.dense_dtype : dtype_;
  const DType to = wanted.value_or(form.packed ? DType::BF16 : form.dtype);
  const LayoutRow& row = layout_row(target_.layout, target_.attn, kind);
  Shape shape = parameter.shape;
  if (is_expert_weight(kind) && row.order == AxisOrder::in_out) std::swap(shape[1], shape[2]);
  const std::optional<Place> place = find_place(name, row, to, shape, form.tensor);
  if (place) plan_.recipes.push_back(dense_recipe(parameter, *place, to, row.order));
}

// Adds a tensor, or the next rows of a fused one. Returns nullopt if the name is excluded.
std::optional<Planner::Place> Planner::find_place(const std::string& name, const LayoutRow& row,
                                                  DType to, const Shape& shape,
                                                  std::size_t source) {
  const auto rows = layout_rows(target_.layout, target_.attn);
  const bool fuses = std::ranges::count(rows, row.suffix, &LayoutRow::suffix) > 1;
  const auto begun = fuses ? names_.find(name) : names_.end();
  if (begun == names_.end()) {
    if (is_excluded_parameter(name)) return std::nullopt;
    const Place place{new_parameter(name, to, shape), 0};
    if (fuses) fused_parts_[place.target] = {row.kind};
    return place;
  }
  if (!fused_parts_[begun->second].insert(row.kind).second) refuse_second(name);
  StoredTensor& fused = plan_.target[begun->second];
  if (fused.dtype != to) {
    throw Error(ErrorCode::wrong_dtype,
                {.problem = "query, key and value of one layer have different dtypes",
                 .tensor = source_[source].name,
                 .expected = std::string(mxferry::name(fused.dtype)),
                 .found = std::string(mxferry::name(to)),
                 .advice = "Give --dense-dtype"});
  }
  const Place place{begun->second, fused.byte_count};
  fused.shape[0] += shape[0];
  fused.byte_count = byte_count(fused.dtype, fused.shape);
  return place;
}

Recipe Planner::dense_recipe(const SourceParameter& parameter, const Place& place, DType to,
                             AxisOrder order) const {
  const StoredForm& form = parameter.form;
  const Shape& shape = parameter.shape;
  Recipe recipe{.source = form.tensor,
                .source_scales = form.scales,
                .target = place.target,
                .target_offset = place.offset,
                .from = form.dtype,
                .to = to,
                .target_order = order,
                .columns = element_count(shape)};
  const bool expert = is_expert_weight(parameter.parameter.kind);
  if (form.packed || (expert && form.order != order)) {
    recipe.operation = form.packed ? Operation::decode : Operation::transpose;
    recipe.experts = shape[0];
    recipe.rows = shape[1];
    recipe.columns = shape[2];
    return recipe;
  }
  const std::int64_t row_elements = shape.size() < 2 ? 1 : shape[1];
  recipe.source_offset = static_cast<std::uint64_t>(form.first_row * row_elements) *
                         static_cast<std::uint64_t>(bits(form.dtype)) / 8;
  recipe.operation = form.dtype == to ? Operation::copy : Operation::cast;
  if (recipe.operation == Operation::copy)
    recipe.columns = static_cast<std::int64_t>(byte_count(to, shape));
  return recipe;
}

void Planner::check_fused() const {
  for (const auto& [target, parts] : fused_parts_) {
    constexpr std::size_t kParts = 3;
    if (parts.size() == kParts) continue;
    throw Error(
        ErrorCode::missing_partner,
        {.problem =
             "this tensor holds query, key and value, but the source does not have all three",
         .tensor = plan_.target[target].name,
         .expected = "3 parts",
         .found = std::to_string(parts.size())});
  }
}

// Gives each tensor of a stack its own name, and leaves out those whose names are excluded.
void Planner::split_parameters() {
  const auto is_stack = [](const StoredTensor& tensor) { return tensor.stacked > 0; };
  if (std::ranges::none_of(plan_.target, is_stack)) return;
  split_stacks(plan_.target, plan_.recipes);
  std::vector<bool> is_out;
  for (const StoredTensor& tensor : plan_.target) is_out.push_back(is_excluded(tensor.name));
  for (const Recipe& recipe : plan_.recipes) {
    for (const std::size_t tensor : targets_of(recipe, plan_.target)) {
      if (is_out[tensor] == is_out[recipe.target]) continue;
      throw Error(ErrorCode::invalid_argument,
                  {.problem = "--exclude leaves out only some of the tensors of one parameter",
                   .tensor = plan_.target[is_out[tensor] ? tensor : recipe.target].name,
                   .expected = "all or none of them left out",
                   .found = "'" + plan_.target[is_out[tensor] ? recipe.target : tensor].name +
                            "' not left out"});
    }
  }
  drop(is_out);
}

void Planner::drop(const std::vector<bool>& is_out) {
  std::erase_if(plan_.recipes, [&](const Recipe& recipe) { return is_out[recipe.target]; });
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < is_out.size(); ++i) {
    if (!is_out[i]) kept.push_back(i);
  }
  reorder(kept);
}

// Makes the target the tensors of these indexes, in their order.
void Planner::reorder(const std::vector<std::size_t>& order) {
  std::vector<std::size_t> place(plan_.target.size());
  Catalog ordered;
  for (std::size_t i = 0; i < order.size(); ++i) {
    place[order[i]] = i;
    ordered.push_back(std::move(plan_.target[order[i]]));
  }
  plan_.target = std::move(ordered);
  for (StoredTensor& tensor : plan_.target) {
    if (tensor.odd_rows) tensor.odd_rows->tensor = place[tensor.odd_rows->tensor];
  }
  for (Recipe& recipe : plan_.recipes) {
    recipe.target = place[recipe.target];
    if (recipe.operation == Operation::encode) recipe.target_scales = place[recipe.target_scales];
  }
}

void Planner::sort_targets() {
  std::vector<std::size_t> order(plan_.target.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    return natural_less(plan_.target[a].name, plan_.target[b].name);
  });
  reorder(order);
  std::ranges::sort(plan_.recipes, {}, [](const Recipe& recipe) {
    return std::pair(recipe.target, recipe.target_offset);
  });
}

}  // namespace

Plan make_plan(const Catalog& source, const Description& description, const Target& target) {
  return Planner(source, description, target).run();
}

void check_attn(Layout layout, const std::string& attn) {
  if (attn != "flex" && attn != "te") {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "unknown attention backend", .expected = "flex or te", .found = attn});
  }
  const LayoutTable& table = layout_table(layout);
  if (attn == "te" && table.rows.data() == table.te_rows.data()) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "--attn te gives the sinks a name of the nemo layout",
                 .expected = "--to nemo",
                 .found = "--to " + std::string(name(layout))});
  }
}

std::size_t assign_shards(const std::vector<StoredTensor*>& tensors, std::uint64_t limit) {
  std::size_t shard = 0;
  std::uint64_t filled = 0;
  bool empty = true;
  for (StoredTensor* tensor : tensors) {
    if (!empty && (tensor->byte_count > limit || filled > limit - tensor->byte_count)) {
      ++shard;
      filled = 0;
    }
    tensor->shard = shard;
    filled += tensor->byte_count;
    empty = false;
  }
  return shard + 1;
}

}  // namespace mxferry::internal
