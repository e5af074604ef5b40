#include "mxferry/inspect.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gpt_oss/name_template.h"
#include "source/source_checkpoint.h"

namespace mxferry {

using namespace internal;

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
    const char* const part = internal::name(kind_row(parameter.parameter.kind).part);
    result[parameter.form.tensor] = part;
    if (parameter.form.packed) result[parameter.form.scales] = part;
  }
  return result;
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
