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

// Everything that the bytes of a command's result depend on: the release, the options, and of the
// source and the reference the names, sizes, times and headers of their files. Two conversions with
// equal records have equal results, so that one can go on where the other ended. Of a model in
// memory and of a sample a record tells what is written, so that processes that write together can
// compare it.
nlohmann::json make_record(const ConvertOptions& options, const SourceCheckpoint& source,
                           const SourceCheckpoint* reference, const std::vector<OutputFile>& files);
nlohmann::json make_record(const WriterOptions& options, const SourceCheckpoint* reference,
                           const std::vector<OutputFile>& files);
nlohmann::json make_record(const SampleOptions& options, const std::vector<OutputFile>& files);

// The record as it is stored, the same text for equal records.
std::string dump_record(const nlohmann::json& record);
// In hexadecimal.
std::string record_digest(const nlohmann::json& record);
// What the work of a record is called: the command and so many digits of the digest.
inline constexpr std::size_t kWorkDigits = 16;
std::string work_name(const nlohmann::json& record);

// Whether a later run can go on with a work of this record: what it is made of is in files.
bool is_resumable(const nlohmann::json& record);

// The files that weights are written to: names and sizes.
struct RecordedFile {
  std::string name;
  std::uint64_t size = 0;
};
// Throws Error(invalid_argument) for a record that make_record() did not make.
std::vector<RecordedFile> recorded_files(const nlohmann::json& record);

// Whether the result has a manifest.
bool has_manifest(const nlohmann::json& record);

// What differs between the record of a conversion that was begun and the one that is wanted, in
// words; nullopt where nothing does.
std::optional<std::string> explain_change(const nlohmann::json& begun,
                                          const nlohmann::json& wanted);

}  // namespace mxferry::internal
