#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flow/sink.h"
#include "mxferry/convert.h"
#include "verbs/source_checkpoint.h"

namespace mxferry {

// Everything that the bytes of a conversion's result depend on: the release, the options, and of
// the source and the reference the names, sizes, times and headers of their files. Two conversions
// with equal records have equal results, so that one can go on where the other ended.
nlohmann::json make_record(const ConvertOptions& options, const SourceCheckpoint& source,
                           const SourceCheckpoint* reference, const std::vector<OutputFile>& files);

// The files that a conversion writes weights to: names and sizes.
struct RecordedFile {
  std::string name;
  std::uint64_t size = 0;
};
// Throws Error(invalid_argument) for a record that make_record() did not make.
std::vector<RecordedFile> recorded_files(const nlohmann::json& record);

// Whether the conversion has a manifest.
bool has_manifest(const nlohmann::json& record);

// What differs between the record of a conversion that was begun and the one that is wanted, in
// words; nullopt where nothing does.
std::optional<std::string> explain_change(const nlohmann::json& begun,
                                          const nlohmann::json& wanted);

}  // namespace mxferry
