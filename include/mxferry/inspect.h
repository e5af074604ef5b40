#pragma once

#include <string>

#include "mxferry/error.h"

namespace mxferry {

// `fatal` stops a conversion, `warning` does not.
enum class Severity { warning, fatal };

// One thing that is wrong with a checkpoint, in plain words.
struct Problem {
  Severity severity = Severity::fatal;
  ErrorCode code = ErrorCode::not_a_checkpoint;
  std::string file;    // relative to the folder; may be empty
  std::string tensor;  // may be empty
  std::string text;    // what is wrong, expected and found, and what to do
};

}  // namespace mxferry
