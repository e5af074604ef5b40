#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flow/sink.h"
#include "mxferry/checkpoint_writer.h"
#include "mxferry/convert.h"
#include "mxferry/sample.h"
#include "source/source_checkpoint.h"

namespace mxferry::internal {

// A record holds everything that determines the bytes of a command's result: the release, the
// options, and the names, sizes, times and headers of the files of the source and the reference,
// with their config.json. Two conversions with equal records have equal results, so one can resume
// where the other stopped. For a model in memory or a sample, the record describes the result, so
// that processes that write together can compare theirs.
nlohmann::json make_record(const ConvertOptions& options, const SourceCheckpoint& source,
                           const SourceCheckpoint* reference, const std::vector<OutputFile>& files);
nlohmann::json make_record(const WriterOptions& options, const SourceCheckpoint* reference,
                           const std::vector<OutputFile>& files);
nlohmann::json make_record(const SampleOptions& options, const std::vector<OutputFile>& files);

// The stored form of a record; equal records have equal text.
std::string dump_record(const nlohmann::json& record);
// SHA-256 of dump_record(), in hexadecimal.
std::string record_digest(const nlohmann::json& record);
// The name of a record's work: COMMAND-DIGITS, the first kWorkDigits digits of record_digest().
inline constexpr std::size_t kWorkDigits = 16;
std::string work_name(const nlohmann::json& record);

// Whether a later run can resume a work with this record: true of conversions, whose input is in
// files.
bool is_resumable(const nlohmann::json& record);

// The name and size of a file that weights are written to.
struct RecordedFile {
  std::string name;
  std::uint64_t size = 0;
};
// Throws Error(invalid_argument) if the record is malformed or lists an unsafe file name.
std::vector<RecordedFile> recorded_files(const nlohmann::json& record);

// Whether the result includes a manifest.
bool has_manifest(const nlohmann::json& record);

// Describes the first difference between the record of a conversion that was begun and the wanted
// one; nullopt if they are equal.
std::optional<std::string> explain_change(const nlohmann::json& begun,
                                          const nlohmann::json& wanted);

}  // namespace mxferry::internal
