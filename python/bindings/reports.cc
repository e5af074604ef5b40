#include "reports.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mxferry/error.h"

namespace mxferry::python {
namespace {

namespace nb = nanobind;
using namespace nb::literals;

nb::object dataclass(const char* name) {
  return nb::module_::import_("mxferry.reports").attr(name);
}

// Declared before the templates that call them.
nb::object to_python(const TensorInfo& info);
nb::object to_python(const PlannedShard& shard);
nb::object to_python(const QuantizedTensor& tensor);
nb::object to_python(const Problem& problem);
nb::object to_python(const Difference& difference);
nb::object to_python(const WeightPair& pair);
nb::object to_python(const ComparedParameter& parameter);
nb::object to_python(const InspectedShard& shard);
nb::object to_python(const InspectedKind& kind);
nb::object to_python(const DamagedFile& file);
nb::object to_python(const std::string& text) {
  return nb::cast(text);
}
nb::object to_python(std::int64_t number) {
  return nb::cast(number);
}
nb::object to_python(std::uint64_t number) {
  return nb::cast(number);
}

nb::str text_of(std::string_view text) {
  return nb::str(text.data(), text.size());
}

template <typename T>
nb::object text_or_none(const std::optional<T>& value) {
  return value ? nb::object(text_of(name(*value))) : nb::none();
}

template <typename T>
nb::object optional_to_python(const std::optional<T>& value) {
  return value ? to_python(*value) : nb::none();
}

// Reports are immutable, so sequences are tuples.
template <typename Range>
nb::tuple tuple_of(const Range& range) {
  nb::list items;
  for (const auto& item : range) items.append(to_python(item));
  return nb::tuple(items);
}

nb::object to_python(const Problem& problem) {
  return dataclass("Problem")("severity"_a = name(problem.severity), "code"_a = name(problem.code),
                              "file"_a = problem.file, "tensor"_a = problem.tensor,
                              "text"_a = problem.text);
}

nb::object to_python(const TensorInfo& info) {
  return dataclass("TensorInfo")("name"_a = info.name, "dtype"_a = text_of(name(info.dtype)),
                                 "shape"_a = tuple_of(info.shape), "begin"_a = info.begin,
                                 "end"_a = info.end);
}

nb::object to_python(const PlannedShard& shard) {
  return dataclass("PlannedShard")("file"_a = shard.file, "bytes"_a = shard.bytes,
                                   "tensors"_a = tuple_of(shard.tensors));
}

nb::object to_python(const QuantizedTensor& tensor) {
  return dataclass("QuantizedTensor")("blocks"_a = tensor.blocks,
                                      "block_count"_a = tensor.block_count, "kept"_a = tensor.kept,
                                      "saturated"_a = tensor.saturated);
}

nb::object to_python(const Difference& difference) {
  return dataclass("Difference")(
      "weights"_a = difference.weights, "different"_a = difference.different,
      "zero_signs"_a = difference.zero_signs, "blocks"_a = difference.blocks,
      "blocks_changed"_a = difference.blocks_changed,
      "blocks_saturated"_a = difference.blocks_saturated,
      "max_absolute_error"_a = difference.max_absolute_error,
      "max_relative_error"_a = difference.max_relative_error, "signal"_a = difference.signal,
      "noise"_a = difference.noise, "sqnr_db"_a = difference.sqnr_db());
}

nb::object to_python(const WeightPair& pair) {
  return dataclass("WeightPair")("expert"_a = pair.expert, "row"_a = pair.row,
                                 "column"_a = pair.column, "a"_a = pair.a, "b"_a = pair.b);
}

nb::object to_python(const ComparedParameter& parameter) {
  return dataclass("ComparedParameter")(
      "tensor_a"_a = parameter.tensor_a, "tensor_b"_a = parameter.tensor_b,
      "kind"_a = parameter.kind, "layer"_a = optional_to_python(parameter.layer),
      "shape"_a = tuple_of(parameter.shape), "codec_a"_a = parameter.codec_a,
      "codec_b"_a = parameter.codec_b, "bytes_identical"_a = parameter.bytes_identical,
      "total"_a = to_python(parameter.total), "experts"_a = tuple_of(parameter.experts),
      "worst"_a = optional_to_python(parameter.worst), "transposed"_a = parameter.transposed,
      "halves"_a = parameter.halves);
}

nb::object to_python(const TensorTotal& total) {
  return dataclass("TensorTotal")("tensors"_a = total.tensors, "bytes"_a = total.bytes);
}

nb::object to_python(const InspectedKind& kind) {
  return dataclass("InspectedKind")("kind"_a = kind.kind, "found"_a = kind.found,
                                    "expected"_a = kind.expected, "form"_a = kind.form,
                                    "order"_a = kind.order);
}

nb::object to_python(const InspectedShard& shard) {
  return dataclass("InspectedShard")("file"_a = shard.file, "tensors"_a = shard.tensors,
                                     "bytes"_a = shard.bytes);
}

nb::object to_python(const DamagedFile& file) {
  return dataclass("DamagedFile")("name"_a = file.name, "expected"_a = file.expected,
                                  "found"_a = file.found, "problem"_a = file.problem);
}

nb::object to_python(const GptOssConfig& config) {
  return dataclass("GptOssConfig")(
      "num_hidden_layers"_a = config.num_hidden_layers,
      "num_local_experts"_a = config.num_local_experts, "hidden_size"_a = config.hidden_size,
      "intermediate_size"_a = config.intermediate_size,
      "num_attention_heads"_a = config.num_attention_heads,
      "num_key_value_heads"_a = config.num_key_value_heads, "head_dim"_a = config.head_dim,
      "vocab_size"_a = config.vocab_size);
}

nb::dict dict_of(const std::map<std::string, TensorTotal>& totals) {
  nb::dict result;
  for (const auto& [name, total] : totals) result[name.c_str()] = to_python(total);
  return result;
}

}  // namespace

nb::object to_python(const ConvertPlan& plan) {
  return dataclass("ConvertPlan")(
      "source"_a = plan.source, "from_"_a = text_of(name(plan.from)),
      "to"_a = text_of(name(plan.to)), "tensors_in"_a = plan.tensors_in,
      "tensors_out"_a = plan.tensors_out, "bytes_in"_a = plan.bytes_in,
      "bytes_out"_a = plan.bytes_out, "shards"_a = tuple_of(plan.shards),
      "carried"_a = tuple_of(plan.carried), "passed_through"_a = tuple_of(plan.passed_through),
      "excluded"_a = plan.excluded, "warnings"_a = tuple_of(plan.warnings),
      "threads"_a = plan.threads, "peak_memory"_a = plan.peak_memory,
      "disk_needed"_a = plan.disk_needed, "disk_free"_a = plan.disk_free,
      "destination_exists"_a = plan.destination_exists, "rank"_a = plan.part.rank,
      "world"_a = plan.part.world, "part_bytes_in"_a = plan.part_bytes_in,
      "part_bytes_out"_a = plan.part_bytes_out);
}

nb::object to_python(const ConvertReport& report) {
  return dataclass("ConvertReport")(
      "plan"_a = to_python(report.plan), "seconds"_a = report.seconds,
      "underflows"_a = report.underflows, "flushed"_a = report.flushed,
      "quantized"_a = tuple_of(report.quantized), "resumed_shards"_a = report.resumed_shards,
      "was_complete"_a = report.was_complete, "finished"_a = report.finished,
      "verified"_a = report.verified, "loss"_a = optional_to_python(report.loss));
}

nb::object to_python(const FinishReport& report) {
  return dataclass("FinishReport")("parts"_a = report.parts, "files"_a = report.files,
                                   "bytes"_a = report.bytes);
}

nb::object to_python(const InspectReport& report) {
  return dataclass("InspectReport")(
      "path"_a = report.path, "layout"_a = text_or_none(report.layout),
      "layout_reason"_a = report.layout_reason, "attn"_a = report.attn, "packed"_a = report.packed,
      "writer"_a = report.writer, "programs"_a = report.programs,
      "kinds"_a = tuple_of(report.kinds), "has_config"_a = report.has_config,
      "config"_a = to_python(report.config), "has_index"_a = report.has_index,
      "distributed"_a = report.distributed, "total"_a = to_python(report.total),
      "by_dtype"_a = dict_of(report.by_dtype), "by_part"_a = dict_of(report.by_part),
      "shards"_a = tuple_of(report.shards), "unknown"_a = tuple_of(report.unknown),
      "problems"_a = tuple_of(report.problems));
}

nb::object to_python(const SampleReport& report) {
  return dataclass("SampleReport")("dtype"_a = text_of(name(report.dtype)),
                                   "tensors"_a = report.tensors, "files"_a = report.files,
                                   "bytes"_a = report.bytes);
}

nb::object to_python(const VerifyReport& report, const nb::object& html) {
  return dataclass("VerifyReport")(
      "identical"_a = report.identical(), "verdict"_a = report.verdict(), "a"_a = report.a,
      "b"_a = report.b, "layout_a"_a = text_of(name(report.layout_a)),
      "layout_b"_a = text_of(name(report.layout_b)), "parameters"_a = tuple_of(report.parameters),
      "only_a"_a = tuple_of(report.only_a), "only_b"_a = tuple_of(report.only_b),
      "mismatched"_a = tuple_of(report.mismatched), "warnings"_a = tuple_of(report.warnings),
      "total"_a = to_python(report.total), "scales_a"_a = tuple_of(report.scales_a),
      "scales_b"_a = tuple_of(report.scales_b), "bytes_read"_a = report.bytes_read,
      "seconds"_a = report.seconds, "html"_a = html);
}

nb::object to_python(const VerifyManifestReport& report) {
  return dataclass("VerifyManifestReport")(
      "intact"_a = report.intact(), "path"_a = report.path, "manifest"_a = report.manifest,
      "files"_a = report.files, "damaged"_a = tuple_of(report.damaged),
      "unlisted"_a = tuple_of(report.unlisted), "bytes_read"_a = report.bytes_read,
      "seconds"_a = report.seconds);
}

}  // namespace mxferry::python
