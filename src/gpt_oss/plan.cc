#include "gpt_oss/plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "base/checked.h"
#include "mxferry/error.h"
#include "mxferry/mxfp4.h"

namespace mxferry {
namespace {

class Planner {
 public:
  Planner(const Catalog& source, const Description& description, const Target& target)
      : source_(source), description_(description), target_(target) {
    if (target.layout == Layout::nemo && target.dtype == Codec::mxfp4) {
      throw Error(ErrorCode::invalid_argument,
                  {.problem = "the nemo layout has no MXFP4 form",
                   .expected = "dtype bf16, f16 or f32",
                   .found = "mxfp4",
                   .advice = "Use the hf or the original layout for MXFP4"});
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
    sort_targets();
    plan_.excluded = excluded_.size();
    plan_.dtype = target_.dense_dtype && !dtype_ ? target_.dense_dtype : dtype_;
    return std::move(plan_);
  }

 private:
  std::vector<const SourceParameter*> in_table_order() const;
  void add(const SourceParameter& parameter);
  void add_packed(const SourceParameter& parameter);
  void add_dense(const SourceParameter& parameter, const std::string& name);
  void pass_through(std::size_t tensor);
  void check_fused() const;
  void sort_targets();

  bool is_excluded(const std::string& name) {
    const bool excluded = target_.excluded && target_.excluded(name);
    if (excluded) excluded_.insert(name);
    return excluded;
  }

  [[noreturn]] static void refuse_second(const std::string& name);
  // The index of a new target tensor. Throws where the name is taken.
  std::size_t new_target(std::string name, DType dtype, Shape shape);
  void copy(std::size_t source, std::uint64_t source_offset, std::size_t target,
            std::uint64_t target_offset, std::uint64_t bytes);

  const Catalog& source_;
  const Description& description_;
  const Target& target_;
  bool dequantizes_ = false;
  std::optional<DType> dtype_;
  Plan plan_;
  std::map<std::string, std::size_t, std::less<>> names_;
  // Fused targets under construction: the parts that each has so far.
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

// The parts of a fused tensor lie in it in the order of the target's rows, whatever their names in
// the source sort like.
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

void Planner::copy(std::size_t source, std::uint64_t source_offset, std::size_t target,
                   std::uint64_t target_offset, std::uint64_t bytes) {
  plan_.recipes.push_back({.source = source,
                           .source_offset = source_offset,
                           .target = target,
                           .target_offset = target_offset,
                           .columns = static_cast<std::int64_t>(bytes)});
}

void Planner::pass_through(std::size_t tensor) {
  const StoredTensor& stored = source_[tensor];
  if (is_excluded(stored.name)) return;
  ++plan_.passed_through;
  copy(tensor, 0, new_target(stored.name, stored.dtype, stored.shape), 0, stored.byte_count);
}

void Planner::add(const SourceParameter& parameter) {
  const Parameter& what = parameter.parameter;
  const bool to_packed = is_expert_weight(what.kind) && target_.dtype == Codec::mxfp4;
  const std::optional<std::string> name =
      tensor_name(target_.layout, target_.attn, what, to_packed ? Piece::blocks : Piece::dense);
  if (!name) {
    pass_through(parameter.form.tensor);
    if (parameter.form.packed) pass_through(parameter.form.scales);
    return;
  }
  if (!to_packed) return add_dense(parameter, *name);
  if (!parameter.form.packed) {
    throw Error(ErrorCode::unsupported,
                {.problem = "this version cannot quantize dense weights to MXFP4",
                 .tensor = source_[parameter.form.tensor].name,
                 .advice = "Use --dtype bf16, f16 or f32"});
  }
  add_packed(parameter);
}

// Blocks and scales move as they are.
void Planner::add_packed(const SourceParameter& parameter) {
  plan_.packed = true;
  const std::pair<Piece, std::size_t> pieces[] = {{Piece::blocks, parameter.form.tensor},
                                                  {Piece::scales, parameter.form.scales}};
  for (const auto& [piece, tensor] : pieces) {
    const StoredTensor& stored = source_[tensor];
    std::string name = *tensor_name(target_.layout, target_.attn, parameter.parameter, piece);
    if (is_excluded(name)) continue;
    copy(tensor, 0, new_target(std::move(name), stored.dtype, stored.shape), 0, stored.byte_count);
  }
}

// A vector, a matrix, or an expert weight whose target is dense. Several parts may share one fused
// target.
void Planner::add_dense(const SourceParameter& parameter, const std::string& name) {
  const StoredForm& form = parameter.form;
  const ParameterKind kind = parameter.parameter.kind;
  const bool expert = is_expert_weight(kind);
  const std::optional<DType> wanted = !expert && target_.dense_dtype ? target_.dense_dtype : dtype_;
  const DType to = wanted.value_or(form.packed ? DType::BF16 : form.dtype);
  const LayoutRow& row = layout_row(target_.layout, target_.attn, kind);
  const auto parts =
      std::ranges::count(layout_rows(target_.layout, target_.attn), row.suffix, &LayoutRow::suffix);

  Shape shape = parameter.shape;
  if (expert && row.order == AxisOrder::in_out) std::swap(shape[1], shape[2]);
  std::size_t target = 0;
  std::uint64_t target_offset = 0;
  const auto known = parts > 1 ? names_.find(name) : names_.end();
  if (known == names_.end()) {
    if (is_excluded(name)) return;
    target = new_target(name, to, shape);
  } else {
    target = known->second;
    StoredTensor& fused = plan_.target[target];
    if (fused.dtype != to) {
      throw Error(ErrorCode::wrong_dtype,
                  {.problem = "query, key and value of one layer have different dtypes",
                   .tensor = source_[form.tensor].name,
                   .expected = std::string(mxferry::name(fused.dtype)),
                   .found = std::string(mxferry::name(to)),
                   .advice = "Give --dense-dtype"});
    }
    target_offset = fused.byte_count;
    fused.shape[0] += shape[0];
    fused.byte_count = byte_count(fused.dtype, fused.shape);
  }
  if (parts > 1 && !fused_parts_[target].insert(kind).second) refuse_second(name);

  Recipe recipe{.source = form.tensor, .target = target, .target_offset = target_offset, .to = to};
  recipe.target_order = row.order;
  if (expert) {
    recipe.experts = parameter.shape[0];
    recipe.rows = parameter.shape[1];
    recipe.columns = parameter.shape[2];
  } else {
    recipe.columns = element_count(parameter.shape);
  }
  if (form.packed) {
    recipe.operation = Operation::decode;
    recipe.source_scales = form.scales;
    plan_.recipes.push_back(recipe);
    return;
  }
  recipe.from = form.dtype;
  const std::int64_t row_elements = parameter.shape.size() < 2 ? 1 : parameter.shape[1];
  recipe.source_offset = static_cast<std::uint64_t>(form.first_row * row_elements) *
                         static_cast<std::uint64_t>(bits(form.dtype)) / 8;
  if (expert && form.order != row.order) {
    recipe.operation = Operation::transpose;
    plan_.recipes.push_back(recipe);
  } else if (recipe.from != recipe.to) {
    recipe.operation = Operation::cast;
    recipe.columns = element_count(parameter.shape);
    recipe.experts = recipe.rows = 1;
    plan_.recipes.push_back(recipe);
  } else {
    copy(form.tensor, recipe.source_offset, target, target_offset, byte_count(to, parameter.shape));
  }
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

void Planner::sort_targets() {
  std::vector<std::size_t> order(plan_.target.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    return natural_less(plan_.target[a].name, plan_.target[b].name);
  });
  Catalog sorted;
  std::vector<std::size_t> place(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    place[order[i]] = i;
    sorted.push_back(std::move(plan_.target[order[i]]));
  }
  plan_.target = std::move(sorted);
  for (Recipe& recipe : plan_.recipes) recipe.target = place[recipe.target];
  std::ranges::sort(plan_.recipes, {}, [](const Recipe& recipe) {
    return std::pair(recipe.target, recipe.target_offset);
  });
}

// Takes the number, or the single character, that the text begins with.
std::string_view take_token(std::string_view& text) noexcept {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t length = 1;
  if (is_digit(text[0])) {
    while (length < text.size() && is_digit(text[length])) ++length;
  }
  const std::string_view token = text.substr(0, length);
  text.remove_prefix(length);
  return token;
}

}  // namespace

Plan make_plan(const Catalog& source, const Description& description, const Target& target) {
  return Planner(source, description, target).run();
}

bool natural_less(std::string_view a, std::string_view b) noexcept {
  const std::string_view whole_a = a;
  const std::string_view whole_b = b;
  while (!a.empty() && !b.empty()) {
    const std::string_view x = take_token(a);
    const std::string_view y = take_token(b);
    if (x == y) continue;
    const auto is_number = [](std::string_view token) {
      return token[0] >= '0' && token[0] <= '9';
    };
    if (!is_number(x) || !is_number(y)) return x < y;
    const std::string_view m = x.substr(std::min(x.find_first_not_of('0'), x.size()));
    const std::string_view n = y.substr(std::min(y.find_first_not_of('0'), y.size()));
    if (m.size() != n.size()) return m.size() < n.size();
    if (m != n) return m < n;
  }
  if (a.empty() != b.empty()) return a.empty();
  return whole_a < whole_b;
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

}  // namespace mxferry
