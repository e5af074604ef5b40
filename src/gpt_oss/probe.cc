#include "gpt_oss/probe.h"

#include <algorithm>
#include <map>
#include <ranges>
#include <set>
#include <string_view>
#include <utility>

#include "gpt_oss/geometry.h"
#include "gpt_oss/model_checks.h"
#include "gpt_oss/name_template.h"
#include "gpt_oss/problem_list.h"
#include "gpt_oss/recognize.h"
#include "mxferry/mxfp4.h"

namespace mxferry::internal {
namespace {

using enum ParameterKind;

// The axis order of dense expert weights, and how it is known.
struct KnownOrder {
  AxisOrder order = AxisOrder::out_in;
  std::string_view from;
};

class Prober {
 public:
  Prober(const Catalog& catalog, const std::vector<MissingName>& missing, const ConfigFacts& config,
         const Orientations& orientations)
      : catalog_(catalog),
        missing_(missing),
        config_(config),
        is_distributed_(std::ranges::any_of(catalog,
                                            [](const StoredTensor& tensor) {
                                              return !tensor.chunks.empty() && tensor.stacked == 0;
                                            })),
        orientations_(orientations) {
    result_.config = config.sizes;
    result_.writer = config.writer;
  }

  Description run() {
    detect_layout();
    if (!result_.layout) {
      if (catalog_.empty()) judge_missing();
      result_.problems = problems_.take();
      return std::move(result_);
    }
    group();
    const FoundModel found{catalog_, result_, groups_, config_, is_distributed_};
    check_unknown_names(found, problems_);
    if (result_.config.num_hidden_layers == 0) result_.config.num_hidden_layers = layers_found_;
    complete_geometry(result_.config, geometry_);
    count_experts_by_layer();
    for (const auto& [parameter, index] : order_) describe(parameter, groups_.at(parameter));
    if (config_.ties_head) add_tied_head();
    judge_missing();
    check_completeness(found, problems_);
    result_.problems = problems_.take();
    return std::move(result_);
  }

 private:
  void fatal(ErrorCode code, std::string tensor, std::string text) {
    problems_.fatal(code, std::move(tensor), std::move(text));
  }
  void warn(ErrorCode code, std::string tensor, std::string text) {
    problems_.warn(code, std::move(tensor), std::move(text));
  }

  void detect_layout();
  void group();
  void describe(const Parameter& parameter, const Pieces& pieces);
  void describe_packed(const Parameter& parameter, const Pieces& pieces, const Shape& expected);
  void describe_dense(const Parameter& parameter, const Pieces& pieces, const Shape& expected);
  void describe_fused(const Parameter& first, const Pieces& pieces);
  std::optional<KnownOrder> expert_order(const Parameter& parameter, const StoredTensor& tensor,
                                         const Shape& expected);
  std::optional<AxisOrder> order_by_shape(const Parameter& parameter, const Shape& stored) const;
  std::optional<KnownOrder> square_order(const Parameter& parameter, std::size_t tensor);
  void count_experts_by_layer();
  std::optional<Shape> shape_of(const Parameter& parameter) const;
  void add_tied_head();
  void judge_missing();
  bool check_shape(const StoredTensor& tensor, const Shape& expected);
  bool check_dtype(const StoredTensor& tensor);
  std::string authority() const { return config_.is_there ? "config.json" : "the other tensors"; }

  const Catalog& catalog_;
  const std::vector<MissingName>& missing_;
  const ConfigFacts& config_;
  bool is_distributed_;  // each file is that of a rank
  const Orientations& orientations_;
  Description result_;
  std::map<Parameter, Pieces> groups_;
  std::vector<std::pair<Parameter, std::size_t>> order_;
  std::vector<NamedShape> geometry_;
  std::int64_t layers_found_ = 0;  // the largest layer number + 1
  // By layer: the first dimensions of these two kinds.
  std::map<std::int64_t, std::int64_t> router_rows_;
  std::map<std::int64_t, std::int64_t> gate_up_experts_;
  std::map<std::int64_t, std::int64_t> experts_of_layer_;  // empty if all have as many
  ProblemList problems_;
};

void Prober::detect_layout() {
  for (const StoredTensor& tensor : catalog_) {
    if (tensor.name.ends_with(layout_row(Layout::nemo, "te", ParameterKind::sinks).suffix))
      result_.attn = "te";
  }
  if (catalog_.empty() && !missing_.empty()) return;  // judge_missing() says why
  Recognition recognition = recognize(catalog_);
  result_.layout = recognition.layout;
  if (!recognition.layout) {
    for (std::size_t i = 0; i < catalog_.size(); ++i) result_.unknown.push_back(i);
    check_unknown_names({catalog_, result_, groups_, config_, is_distributed_}, problems_);
    result_.unknown.clear();
    return fatal(ErrorCode::unknown_layout, "", std::move(recognition.text));
  }
  result_.layout_reason = std::move(recognition.text);
}

void Prober::group() {
  for (std::size_t i = 0; i < catalog_.size(); ++i) {
    const StoredTensor& tensor = catalog_[i];
    auto match = match_tensor(*result_.layout, result_.attn, tensor);
    // A checkpoint with TE's name for some sinks may keep the plain name for others.
    if (!match && result_.attn == "te") match = match_tensor(*result_.layout, "flex", tensor);
    if (!match) {
      result_.unknown.push_back(i);
      continue;
    }
    const Parameter parameter = match->parameter(match->rows[0]);
    const auto [entry, is_new] = groups_.try_emplace(parameter);
    if (is_new) order_.emplace_back(parameter, i);
    Pieces& pieces = entry->second;
    pieces.rows = match->rows;
    // Programs that load packed weights and save dense ones may keep the names of the blocks.
    const bool is_dense = match->piece == Piece::blocks && is_dense_float(tensor.dtype);
    const Piece piece = is_dense ? Piece::dense : match->piece;
    std::optional<std::size_t>& slot = piece == Piece::dense    ? pieces.dense
                                       : piece == Piece::blocks ? pieces.blocks
                                                                : pieces.scales;
    if (slot) {
      fatal(ErrorCode::name_collision, tensor.name,
            "the same parameter is there twice: also as '" + catalog_[*slot].name + "'");
    }
    slot = i;
    if (piece != Piece::scales) {
      geometry_.push_back(
          {parameter.kind, piece == Piece::blocks, match->rows.size() > 1, tensor.shape});
    }
    if (piece != Piece::dense) result_.packed = true;
    if (parameter.layer && !tensor.shape.empty()) {
      if (parameter.kind == router_weight) router_rows_[*parameter.layer] = tensor.shape[0];
      if (parameter.kind == gate_up_weight) gate_up_experts_[*parameter.layer] = tensor.shape[0];
    }
    if (parameter.layer) layers_found_ = std::max(layers_found_, *parameter.layer + 1);
  }
}

// Whether a tensor of a distributed checkpoint may lack its end, which nothing in the files
// records.
bool may_lack_its_end(const StoredTensor& tensor, const Shape& expected) {
  return !tensor.chunks.empty() && tensor.stacked == 0 && tensor.shape.size() == expected.size() &&
         std::ranges::equal(tensor.shape, expected, std::ranges::less_equal());
}

bool Prober::check_shape(const StoredTensor& tensor, const Shape& expected) {
  if (tensor.shape == expected) return true;
  fatal(ErrorCode::wrong_shape, tensor.name,
        "expected shape " + to_string(expected) + " by " + authority() + ", found " +
            to_string(tensor.shape) +
            (may_lack_its_end(tensor, expected)
                 ? " when the files are put together: the file of the last rank may be missing"
                 : ""));
  return false;
}

bool Prober::check_dtype(const StoredTensor& tensor) {
  if (is_dense_float(tensor.dtype)) return true;
  fatal(ErrorCode::wrong_dtype, tensor.name,
        "expected dtype BF16, F16 or F32, found " + std::string(mxferry::name(tensor.dtype)) +
            (config_.quantization.empty()
                 ? ""
                 : "; config.json says that the weights are quantized: " + config_.quantization));
  return false;
}

void Prober::describe(const Parameter& parameter, const Pieces& pieces) {
  if (pieces.rows.size() > 1) return describe_fused(parameter, pieces);
  if (pieces.dense && (pieces.blocks || pieces.scales)) {
    if (!check_dtype(catalog_[*pieces.dense])) return;
    const std::size_t packed = pieces.blocks ? *pieces.blocks : *pieces.scales;
    return fatal(ErrorCode::name_collision, catalog_[*pieces.dense].name,
                 "the same parameter is there twice: also as '" + catalog_[packed].name + "'");
  }
  const std::optional<Shape> expected = shape_of(parameter);
  if (!expected) {
    const std::size_t any = pieces.dense    ? *pieces.dense
                            : pieces.blocks ? *pieces.blocks
                                            : *pieces.scales;
    return fatal(ErrorCode::invalid_config, catalog_[any].name,
                 "neither config.json nor the other tensors tell its sizes; put the model's "
                 "config.json beside the weights");
  }
  if (pieces.dense) return describe_dense(parameter, pieces, *expected);
  describe_packed(parameter, pieces, *expected);
}

void Prober::describe_packed(const Parameter& parameter, const Pieces& pieces,
                             const Shape& expected) {
  const LayoutRow& row = pieces.rows[0];
  if (!pieces.blocks || !pieces.scales) {
    const StoredTensor& here = catalog_[pieces.blocks ? *pieces.blocks : *pieces.scales];
    const std::string_view has = pieces.blocks ? row.blocks_ending : row.scales_ending;
    const std::string_view lacks = pieces.blocks ? row.scales_ending : row.blocks_ending;
    std::string partner = here.name;
    partner.replace(partner.size() - has.size(), has.size(), lacks);
    return fatal(ErrorCode::missing_partner, here.name,
                 "MXFP4 weights come as blocks and scales, but '" + partner + "' is missing");
  }
  const StoredTensor& blocks = catalog_[*pieces.blocks];
  const StoredTensor& scales = catalog_[*pieces.scales];
  bool good = true;
  for (const StoredTensor* tensor : {&blocks, &scales}) {
    if (tensor->dtype == DType::U8) continue;
    fatal(ErrorCode::wrong_dtype, tensor->name,
          "expected dtype U8, found " + std::string(mxferry::name(tensor->dtype)));
    good = false;
  }
  if (expected[2] % kBlockSize != 0) {
    return fatal(
        ErrorCode::wrong_shape, blocks.name,
        "an input dimension of " + std::to_string(expected[2]) + " is not a multiple of 32");
  }
  const std::int64_t groups = expected[2] / kBlockSize;
  good &= check_shape(blocks, {expected[0], expected[1], groups, kBlockBytes});
  good &= check_shape(scales, {expected[0], expected[1], groups});
  if (!good) return;
  const StoredForm form{.packed = true, .tensor = *pieces.blocks, .scales = *pieces.scales};
  result_.parameters.push_back({parameter, expected, form});
}

void Prober::describe_dense(const Parameter& parameter, const Pieces& pieces,
                            const Shape& expected) {
  const StoredTensor& tensor = catalog_[*pieces.dense];
  StoredForm form{.tensor = *pieces.dense, .dtype = tensor.dtype};
  if (!check_dtype(tensor)) return;
  if (is_expert_weight(parameter.kind)) {
    const std::optional<KnownOrder> known = expert_order(parameter, tensor, expected);
    if (!known) return;
    form.order = known->order;
    form.order_from = known->from;
    if (form.order != pieces.rows[0].order) {
      warn(ErrorCode::unknown_orientation, tensor.name,
           std::string("stored with its two last dimensions swapped for the ") +
               std::string(mxferry::name(*result_.layout)) + " layout: shape " +
               to_string(tensor.shape) + "; it is read that way");
    }
  } else if (!check_shape(tensor, expected)) {
    return;
  }
  result_.parameters.push_back({parameter, expected, form});
}

// From the shape, if its last two dimensions differ.
std::optional<AxisOrder> Prober::order_by_shape(const Parameter& parameter,
                                                const Shape& stored) const {
  const std::optional<Shape> logical = shape_of(parameter);
  if (!logical || (*logical)[1] == (*logical)[2]) return std::nullopt;
  if (stored == *logical) return AxisOrder::out_in;
  if (stored == Shape{(*logical)[0], (*logical)[2], (*logical)[1]}) return AxisOrder::in_out;
  return std::nullopt;
}

std::optional<KnownOrder> Prober::expert_order(const Parameter& parameter,
                                               const StoredTensor& tensor, const Shape& expected) {
  // Each of gate and up has whole rows, whatever --orientation says of square weights.
  if (has_half_field(tensor.name)) {
    if (!check_shape(tensor, expected)) return std::nullopt;
    return KnownOrder{AxisOrder::out_in, "by the layout"};
  }
  if (expected[1] != expected[2]) {
    const std::optional<AxisOrder> order = order_by_shape(parameter, tensor.shape);
    if (!order) {
      const AxisOrder usual = groups_.at(parameter).rows[0].order;
      const Shape stored =
          usual == AxisOrder::out_in ? expected : Shape{expected[0], expected[2], expected[1]};
      check_shape(tensor, stored);
      return std::nullopt;
    }
    return KnownOrder{*order, "by the shape"};
  }
  if (!check_shape(tensor, expected)) return std::nullopt;
  return square_order(parameter, *groups_.at(parameter).dense);
}

// A square weight has the same axis order as its sibling in the same layer. gate_up and down are
// never both square, since one has 2I rows and the other I columns. Without the sibling, the
// weight's own values may tell.
std::optional<KnownOrder> Prober::square_order(const Parameter& parameter, std::size_t index) {
  const StoredTensor& tensor = catalog_[index];
  result_.square.push_back(index);
  Parameter sibling = parameter;
  sibling.kind = parameter.kind == ParameterKind::down_weight ? ParameterKind::gate_up_weight
                                                              : ParameterKind::down_weight;
  std::optional<AxisOrder> order = orientations_.forced;
  const std::string_view from = order ? "by --orientation" : "as its sibling's";
  const auto found = groups_.find(sibling);
  if (!order && found != groups_.end() && found->second.dense) {
    order = order_by_shape(sibling, catalog_[*found->second.dense].shape);
  }
  const auto measured = orientations_.measured.find(index);
  const bool is_measured = measured != orientations_.measured.end();
  if (order && is_measured && measured->second != *order) {
    warn(ErrorCode::unknown_orientation, tensor.name,
         "PROBABLY TRANSPOSED: it is taken to be stored " + std::string(mxferry::name(*order)) +
             ", but the weights were once MXFP4 blocks that ran along the other dimension; "
             "--orientation " +
             std::string(mxferry::name(measured->second)) + " reads it that way");
  }
  if (order) return KnownOrder{*order, from};
  if (is_measured) return KnownOrder{measured->second, "by the weights"};
  fatal(ErrorCode::unknown_orientation, tensor.name,
        "the weight is square and '" +
            tensor_name(*result_.layout, result_.attn, sibling, Piece::dense).value_or("") +
            "', whose shape would tell whether it is stored [out, in] or [in, out], is not there; "
            "say "
            "it with --orientation out_in or in_out");
  return std::nullopt;
}

void Prober::describe_fused(const Parameter& first, const Pieces& pieces) {
  const StoredTensor& tensor = catalog_[*pieces.dense];
  if (!check_dtype(tensor)) return;
  std::vector<SourceParameter> parts;
  Shape whole;
  for (const LayoutRow& row : pieces.rows) {
    const std::optional<Shape> shape = logical_shape(row.kind, result_.config);
    if (!shape) {
      return fatal(ErrorCode::invalid_config, tensor.name,
                   "neither config.json nor the other tensors tell how many of its rows are query, "
                   "key and value");
    }
    Parameter parameter = first;
    parameter.kind = row.kind;
    const std::int64_t first_row = whole.empty() ? 0 : whole[0];
    parts.push_back({parameter,
                     *shape,
                     {.tensor = *pieces.dense, .dtype = tensor.dtype, .first_row = first_row}});
    whole = *shape;
    if (__builtin_add_overflow(whole[0], first_row, &whole[0])) {
      return fatal(ErrorCode::invalid_config, tensor.name,
                   "query, key and value have more rows than 63 bits can count by " + authority());
    }
  }
  if (!check_shape(tensor, whole)) return;
  for (SourceParameter& part : parts) result_.parameters.push_back(std::move(part));
}

// A model may be pruned by layer. config.json tells it, or the layers do if they differ, each with
// as many rows of the router as experts.
void Prober::count_experts_by_layer() {
  const std::vector<std::int64_t>& given = config_.experts_by_layer;
  for (std::size_t layer = 0; layer < given.size(); ++layer) {
    experts_of_layer_[static_cast<std::int64_t>(layer)] = given[layer];
  }
  const bool differ = std::ranges::adjacent_find(router_rows_, std::ranges::not_equal_to(),
                                                 [](const auto& entry) { return entry.second; }) !=
                      router_rows_.end();
  if (given.empty() && differ && router_rows_ == gate_up_experts_) experts_of_layer_ = router_rows_;
  if (experts_of_layer_.empty()) return;
  const auto [least, most] = std::ranges::minmax(std::views::values(experts_of_layer_));
  if (least == most) return;
  const std::string text = "the layers have " + std::to_string(least) + " to " +
                           std::to_string(most) + " experts; each is converted with its own";
  if (!given.empty()) return problems_.note(ErrorCode::wrong_shape, "", text);
  problems_.warn(ErrorCode::wrong_shape, "",
                 text +
                     ", but config.json has one number for all layers, and transformers' own "
                     "class too");
}

// The logical shape, with the experts of the parameter's layer.
std::optional<Shape> Prober::shape_of(const Parameter& parameter) const {
  const auto own = experts_of_layer_.find(parameter.layer.value_or(-1));
  if (own == experts_of_layer_.end()) return logical_shape(parameter.kind, result_.config);
  GptOssConfig config = result_.config;
  config.num_local_experts = own->second;
  return logical_shape(parameter.kind, config);
}

void Prober::add_tied_head() {
  const auto find = [&](ParameterKind kind) {
    return std::ranges::find(result_.parameters, kind,
                             [](const SourceParameter& source) { return source.parameter.kind; });
  };
  const auto embedding = find(ParameterKind::embedding);
  const bool has_head = find(ParameterKind::head) != result_.parameters.end();
  if (has_head || embedding == result_.parameters.end()) return;
  SourceParameter head = *embedding;
  head.parameter = {ParameterKind::head, std::nullopt,
                    published_prefix(ParameterKind::head, std::nullopt)};
  head.form.tied = true;
  result_.parameters.push_back(std::move(head));
}

void Prober::judge_missing() {
  std::set<std::pair<ParameterKind, std::optional<std::int64_t>>> present;
  for (const SourceParameter& source : result_.parameters) {
    present.emplace(source.parameter.kind, source.parameter.layer);
  }
  for (const MissingName& missing : missing_) {
    bool stale = false;
    const auto member = parse_member(missing.tensor, std::nullopt);
    const std::string& name = member ? member->name_template : missing.tensor;
    // One expert more than there are has no other form.
    const auto stack = std::ranges::lower_bound(catalog_, name, {}, &StoredTensor::name);
    const bool is_hole = member && stack != catalog_.end() && stack->name == name &&
                         stack->stacked > 0 && member->expert >= stack->shape[0];
    for (const LayoutTable& table : layout_tables()) {
      const auto match = match_name(table.layout, "flex", name);
      if (!match) continue;
      const Parameter parameter = match->parameter(match->rows[0]);
      stale = stale || (!is_hole && present.contains({parameter.kind, parameter.layer}));
    }
    const std::string where = missing.file_exists ? "'" + missing.file + "', which does not hold it"
                                                  : "'" + missing.file + "', which is not there";
    if (stale) {
      warn(ErrorCode::missing_tensor, missing.tensor,
           "a stale key of the index: it points to " + where +
               ", but the same parameter is there in another form");
    } else {
      fatal(missing.file_exists ? ErrorCode::missing_tensor : ErrorCode::missing_shard,
            missing.tensor, "the index says it is in " + where + "; download the checkpoint again");
    }
  }
}

}  // namespace

Description probe(const Catalog& catalog, const std::vector<MissingName>& missing,
                  const ConfigFacts& config, const Orientations& orientations) {
  return Prober(catalog, missing, config, orientations).run();
}

}  // namespace mxferry::internal
