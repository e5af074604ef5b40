#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mxferry/config.h"
#include "mxferry/error.h"
#include "mxferry/layout.h"

namespace mxferry {

// `fatal` stops a conversion. `warning` does not, unless it is strict: the result may not be what
// the user wants. `note` tells what is read in another way than it is written.
enum class Severity { note, warning, fatal };

const char* name(Severity severity) noexcept;

// A problem in a checkpoint, in plain words.
struct Problem {
  Severity severity = Severity::fatal;
  ErrorCode code = ErrorCode::not_a_checkpoint;
  std::string file;    // relative to the folder; may be empty
  std::string tensor;  // may be empty
  std::string text;    // what is wrong, expected and found, and what to do
};

struct TensorTotal {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
};

struct InspectedShard {
  std::string file;
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;  // of the whole file
};

// One kind of parameter of the model, over all layers.
struct InspectedKind {
  std::string kind;          // in words, for example "experts' down projection"
  std::size_t found = 0;     // how many are there
  std::size_t expected = 0;  // one for each layer, or one
  std::string form;          // "MXFP4", "BF16", "BF16, F32", "tied to the embedding"; "" if missing
  // Of dense experts: how they are stored and how that is known, "[in, out] by the shape"; else "".
  std::string order;
};

struct InspectReport {
  std::filesystem::path path;    // resolved
  std::optional<Layout> layout;  // nullopt: not recognized
  std::string layout_reason;
  std::string attn;      // "te" if the sinks have Transformer Engine's name, else "flex"
  bool packed = false;   // experts are MXFP4
  std::string writer;    // the program that wrote config.json, by its own word; may be empty
  std::string programs;  // that load the layout in this form, for people
  std::vector<InspectedKind> kinds;  // in the order of the model; empty without a layout
  bool has_config = false;
  GptOssConfig config;  // from config.json, completed from the shapes; 0 if unknown
  bool has_index = false;
  bool distributed = false;  // files of a PyTorch run's ranks, each with chunks of tensors
  TensorTotal total;
  std::map<std::string, TensorTotal> by_dtype;  // by safetensors name
  std::map<std::string, TensorTotal>
      by_part;  // "experts", "attention", "embedding", "unknown" and so on
  std::vector<InspectedShard> shards;
  std::vector<std::string> unknown;  // names that the layout does not know
  std::vector<Problem> problems;     // fatal ones first
};

// Reads the headers, index and config of a checkpoint folder or a Hub name in the local cache; also
// a corner of each square dense expert weight, which may reveal its orientation. Throws
// Error(not_a_checkpoint, io_error) only if there is nothing to inspect.
InspectReport inspect(const std::string& source);

}  // namespace mxferry
