#include "mxferry/inspect.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gpt_oss/config_json.h"
#include "gpt_oss/name_template.h"
#include "source/source_checkpoint.h"

namespace mxferry {

using namespace internal;

const char* name(Severity severity) noexcept {
  return severity == Severity::fatal ? "fatal" : severity == Severity::note ? "note" : "warning";
}

namespace {

void add(TensorTotal& total, const StoredTensor& tensor) {
  total.tensors += std::max<std::size_t>(1, tensor.stacked);
  total.bytes += tensor.byte_count;
}

DType stored_dtype(const StoredTensor& tensor) {
  const auto of_elements = tensor.stacked > 0 ? dtype_field(tensor.name) : std::nullopt;
  return of_elements.value_or(tensor.dtype);
}

// The part of the model of every tensor. A fused one has that of its parameters, which all share
// one.
std::vector<const char*> parts(const SourceCheckpoint& checkpoint) {
  std::vector<const char*> result(checkpoint.catalog.size(), "unknown");
  for (const SourceParameter& parameter : checkpoint.description.parameters) {
    if (parameter.form.tied) continue;
    const char* const part = internal::name(kind_row(parameter.parameter.kind).part);
    result[parameter.form.tensor] = part;
    if (parameter.form.packed) result[parameter.form.scales] = part;
  }
  return result;
}

// Adds a text to a list, unless it is there.
void add_once(std::string& list, std::string_view text) {
  if (list.find(text) != std::string::npos) return;
  list += (list.empty() ? "" : ", ") + std::string(text);
}

void describe_form(const SourceParameter& source, InspectedKind& kind) {
  const StoredForm& form = source.form;
  add_once(kind.form, form.packed ? "MXFP4"
                      : form.tied ? "tied to the embedding"
                                  : name(form.dtype));
  if (form.order_from.empty()) return;
  const bool is_rows = form.order == AxisOrder::out_in;
  add_once(kind.order, (is_rows ? "[out, in] " : "[in, out] ") + std::string(form.order_from));
}

std::vector<InspectedKind> kinds_of(const Description& description) {
  std::vector<InspectedKind> kinds;
  const auto layers = static_cast<std::size_t>(description.config.num_hidden_layers);
  for (const KindRow& row : kKindRows) {
    InspectedKind kind{
        .kind = row.words, .expected = row.per_layer ? layers : 1, .form = {}, .order = {}};
    for (const SourceParameter& source : description.parameters) {
      if (source.parameter.kind != row.kind) continue;
      ++kind.found;
      describe_form(source, kind);
    }
    kinds.push_back(std::move(kind));
  }
  return kinds;
}

// What a conversion to the same layout puts right in config.json.
void add_config_notes(const SourceCheckpoint& checkpoint, std::vector<Problem>& problems) {
  const Description& description = checkpoint.description;
  if (!checkpoint.config_text || !description.layout) return;
  const bool has_head = std::ranges::any_of(description.parameters, [](const SourceParameter& p) {
    return p.parameter.kind == ParameterKind::head;
  });
  try {
    const EditedConfig edited = edit_config(*checkpoint.config_text, "config.json",
                                            {.to = *description.layout,
                                             .packed = description.packed,
                                             .has_head = has_head,
                                             .sizes = description.config});
    problems.insert(problems.end(), edited.problems.begin(), edited.problems.end());
  } catch (const Error& error) {
    if (category(error.code()) == ErrorCategory::system) throw;
    return;  // which opening the checkpoint has reported
  }
}

}  // namespace

InspectReport inspect(const std::string& source) {
  const SourceCheckpoint checkpoint = open_source(source);
  const Description& description = checkpoint.description;
  InspectReport report;
  report.path = checkpoint.folder.path;
  report.layout = description.layout;
  report.layout_reason = description.layout_reason;
  report.attn = description.attn;
  report.packed = description.packed;
  report.writer = description.writer;
  if (description.layout) {
    const LayoutTable& table = layout_table(*description.layout);
    report.kinds = kinds_of(description);
    const bool is_mixed = std::ranges::any_of(report.kinds, [](const InspectedKind& kind) {
      return kind.form.find("MXFP4,") != std::string::npos ||
             kind.form.find(", MXFP4") != std::string::npos;
    });
    const bool is_whole = checkpoint.config_text && !checkpoint.folder.is_distributed &&
                          !is_mixed &&
                          (checkpoint.folder.has_index || checkpoint.folder.shards.size() == 1);
    if (is_whole) {
      report.programs = description.packed ? table.packed_programs : table.dense_programs;
    }
  }
  report.has_config = checkpoint.config_text.has_value();
  report.config = description.config;
  report.has_index = checkpoint.folder.has_index;
  report.distributed = checkpoint.folder.is_distributed;
  report.problems = checkpoint.problems;
  for (const ShardFile& shard : checkpoint.folder.shards) {
    const SafetensorsHeader& header = shard.header;
    report.shards.push_back(
        {shard.name, header.tensors.size(), header.data_offset + header.data_size});
  }
  const std::vector<const char*> part_of = parts(checkpoint);
  for (std::size_t i = 0; i < checkpoint.catalog.size(); ++i) {
    const StoredTensor& tensor = checkpoint.catalog[i];
    add(report.total, tensor);
    add(report.by_dtype[std::string(name(stored_dtype(tensor)))], tensor);
    add(report.by_part[part_of[i]], tensor);
  }
  add_config_notes(checkpoint, report.problems);
  for (const std::size_t tensor : description.unknown)
    report.unknown.push_back(checkpoint.catalog[tensor].name);
  if (!report.unknown.empty() && report.layout) {
    report.problems.push_back({Severity::warning, ErrorCode::missing_tensor, "", report.unknown[0],
                               std::to_string(report.unknown.size()) +
                                   " tensor(s) with names that the layout does not "
                                   "know; a conversion copies them untouched"});
  }
  return report;
}

}  // namespace mxferry
