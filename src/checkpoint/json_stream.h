#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "mxferry/error.h"

namespace mxferry::internal {

enum class JsonType { null, boolean, string, unsigned_integer, other_number, object, array };

// For messages, for example "an object".
const char* describe(JsonType type) noexcept;

// Receives one JSON text as a stream of events. The receiver throws to refuse an event that is not
// allowed in its place.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;

  virtual void begin(JsonType container) = 0;  // object or array
  virtual void end() = 0;                      // of the innermost open container
  virtual void key(std::string& name) = 0;     // may be moved from, as `value` below
  virtual void string(std::string& value) = 0;
  virtual void unsigned_integer(std::uint64_t value) = 0;
  virtual void other(JsonType scalar) = 0;  // null, boolean, or a negative or fractional number
};

// Describes the text, for errors.
struct JsonSource {
  const std::filesystem::path& file;
  const char* what;     // for example "the header"
  ErrorCode not_json;   // thrown if it is not JSON
  ErrorCode too_large;  // thrown if a token is too long
};

// The deepest nesting that is accepted: the limit of serde_json, the JSON parser of safetensors'
// reference implementation.
inline constexpr int kDeepestJson = 127;

// In bytes, from one opening quote to the next. Bounds how much of a hostile text the parser
// copies.
inline constexpr std::size_t kLongestJsonToken = std::size_t{4} << 20;

// Parses untrusted UTF-8 text as exactly one JSON value (RFC 8259: no comments, no byte order
// mark). Apart from the text, needs memory for one token only. Throws what the events throw,
// Error(source.not_json), also if the text is nested too deeply, and Error(source.too_large).
void stream_json(std::string text, JsonEvents& events, const JsonSource& source);

}  // namespace mxferry::internal
