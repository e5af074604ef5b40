#include "destination/conversion_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <span>

#include "base/file.h"
#include "base/hash.h"
#include "destination/name_text.h"
#include "mxferry/error.h"
#include "mxferry/version.h"

namespace mxferry::internal {
namespace {

using Json = nlohmann::json;

std::string text_of(const Json& value) {
  return value.is_string() ? "'" + value.get<std::string>() + "'"
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

template <typename T>
Json name_or_null(const std::optional<T>& value) {
  return value ? Json(std::string(name(*value))) : Json();
}

// The keys are the command's option names.
Json record_of(const ConvertOptions& options) {
  return {{"--to", std::string(name(options.to))},
          {"--attn", options.backend.attn},
          {"--dtype", name_or_null(options.dtype)},
          {"--dense-dtype", name_or_null(options.dense_dtype)},
          {"--quant-mode", std::string(name(options.quant_mode))},
          {"--orientation", name_or_null(options.orientation)},
          {"--exclude", options.exclude},
          {"--max-shard-size", options.max_shard_size},
          {"--dcp-shards", options.dcp_shards},
          {"--checksum", options.checksum},
          {"--allow-nonfinite", options.allow_nonfinite}};
}

std::string header_digest(const File& file, const SafetensorsHeader& header) {
  std::vector<std::byte> bytes(header.data_offset);
  file.read(0, bytes);
  return sha256_of(bytes);
}

Json record_of(const SourceCheckpoint& checkpoint) {
  Json files = Json::object();
  for (const ShardFile& shard : checkpoint.folder.shards) {
    const File file = File::open_for_reading(shard.path);
    files[to_json_text(shard.name)] = {{"size", file.size()},
                                       {"modified", file.modified()},
                                       {"header", header_digest(file, shard.header)}};
  }
  Json record = {{"files", files}};
  if (checkpoint.config_text) {
    record["config.json"] = sha256_of(std::as_bytes(std::span(*checkpoint.config_text)));
  }
  return record;
}

Json common_record(const char* command, const std::vector<OutputFile>& files) {
  Json target = Json::array();
  for (const OutputFile& file : files) {
    target.push_back({{"name", file.path.filename().string()}, {"size", file.size}});
  }
  return {{"command", command}, {"version", MXFERRY_VERSION}, {"target", target}};
}

std::optional<std::string> explain_options(const Json& begun, const Json& wanted) {
  for (const auto& [option, value] : wanted.items()) {
    const Json before = begun.value(option, Json());
    if (before == value) continue;
    return option + " was " + text_of(before) + " and is " + text_of(value);
  }
  return std::nullopt;
}

std::optional<std::string> explain_files(const std::string& of, const Json& begun,
                                         const Json& wanted) {
  const Json before = begun.value("files", Json::object());
  const Json now = wanted.value("files", Json::object());
  for (const auto& [name, facts] : now.items()) {
    if (!before.contains(name)) return fmt::format("{} of the {} is new", name, of);
    for (const auto& [fact, value] : facts.items()) {
      if (before[name].value(fact, Json()) == value) continue;
      return fmt::format("{} of the {} has changed (its {})", name, of,
                         fact == "modified" ? "time of modification" : fact);
    }
  }
  for (const auto& [name, facts] : before.items()) {
    if (!now.contains(name)) return fmt::format("{} of the {} is gone", name, of);
  }
  if (begun != wanted) return "config.json of the " + of + " has changed";
  return std::nullopt;
}

std::optional<std::string> explain_checkpoint(const std::string& of, const Json& begun,
                                              const Json& wanted) {
  const Json before = begun.value(of, Json());
  const Json now = wanted.value(of, Json());
  if (before.is_object() != now.is_object()) {
    return now.is_object() ? "there is a " + of + " now" : "there was a " + of;
  }
  if (!now.is_object()) return std::nullopt;
  return explain_files(of, before, now);
}

[[noreturn]] void refuse_record() {
  throw Error(ErrorCode::invalid_argument, {.problem = "the record of the conversion is damaged",
                                            .advice = "Begin the conversion anew, with --force"});
}

}  // namespace

Json make_record(const ConvertOptions& options, const SourceCheckpoint& source,
                 const SourceCheckpoint* reference, const std::vector<OutputFile>& files) {
  Json record = common_record("convert", files);
  record["options"] = record_of(options);
  record["source"] = record_of(source);
  record["reference"] = reference == nullptr ? Json() : record_of(*reference);
  return record;
}

Json make_record(const WriterOptions& options, const SourceCheckpoint* reference,
                 const std::vector<OutputFile>& files) {
  Json record = common_record("save", files);
  record["options"] = {{"dtype", name_or_null(options.dtype)},
                       {"dense_dtype", name_or_null(options.dense_dtype)},
                       {"quant_mode", std::string(name(options.quant_mode))},
                       {"allow_nonfinite", options.allow_nonfinite},
                       {"max_shard_size", options.max_shard_size},
                       {"config", sha256_of(std::as_bytes(std::span(options.config)))},
                       {"sync", options.sync}};
  record["reference"] = reference == nullptr ? Json() : record_of(*reference);
  Json tensors = Json::array();
  for (const ReadableTensor& tensor : options.tensors) {
    tensors.push_back({tensor.name, std::string(name(tensor.dtype)), tensor.shape});
  }
  record["tensors"] = tensors;
  return record;
}

Json make_record(const SampleOptions& options, const std::vector<OutputFile>& files) {
  Json record = common_record("sample", files);
  record["options"] = {{"seed", options.seed}, {"wild", options.wild}};
  return record;
}

std::string dump_record(const Json& record) {
  return record.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string record_digest(const Json& record) {
  const std::string text = dump_record(record);
  return sha256_of(std::as_bytes(std::span(text)));
}

std::string work_name(const Json& record) {
  return record.at("command").get<std::string>() + "-" +
         record_digest(record).substr(0, kWorkDigits);
}

bool is_resumable(const Json& record) {
  return record.is_object() && record.value("command", Json()) == "convert";
}

std::vector<RecordedFile> recorded_files(const Json& record) {
  if (!record.is_object() || !record.contains("target") || !record["target"].is_array())
    refuse_record();
  std::vector<RecordedFile> files;
  for (const Json& file : record["target"]) {
    if (!file.is_object() || !file.contains("name") || !file["name"].is_string() ||
        !file.contains("size") || !file["size"].is_number_unsigned())
      refuse_record();
    files.push_back({file["name"].get<std::string>(), file["size"].get<std::uint64_t>()});
    // The record is an untrusted file: it may name only files in the folder itself.
    if (files.back().name.find('/') != std::string::npos || files.back().name.starts_with('.'))
      refuse_record();
  }
  return files;
}

bool has_manifest(const Json& record) {
  const Json options = record.value("options", Json());
  return options.is_object() && options.value("--checksum", Json()) == true;
}

namespace {

std::optional<std::string> explain(const Json& begun, const Json& wanted) {
  if (begun.value("command", Json()) != wanted["command"]) return "it was begun by another command";
  const Json version = begun.value("version", Json());
  if (version != wanted["version"]) {
    return "it was begun by mxferry " + text_of(version) + ", and this is " +
           text_of(wanted["version"]);
  }
  if (auto change = explain_options(begun.value("options", Json::object()), wanted["options"])) {
    return change;
  }
  for (const char* const of : {"source", "reference"}) {
    if (auto change = explain_checkpoint(of, begun, wanted)) return change;
  }
  return "its files are to be others";
}

}  // namespace

std::optional<std::string> explain_change(const Json& begun, const Json& wanted) {
  if (begun == wanted) return std::nullopt;
  try {
    return explain(begun, wanted);
  } catch (const Json::exception&) {
    return "its record is damaged";
  }
}

}  // namespace mxferry::internal
