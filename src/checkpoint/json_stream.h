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

// Receives one JSON text as a stream of events. What does not belong where it stands is for the
// receiver to refuse, by throwing.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;

  virtual void begin(JsonType container) = 0;  // object or array
  virtual void end() = 0;                      // of the innermost open container
  virtual void key(std::string& name) = 0;     // may be moved from, as may value below
  virtual void string(std::string& value) = 0;
  virtual void unsigned_integer(std::uint64_t value) = 0;
  virtual void other(JsonType scalar) = 0;  // null, boolean, or a negative or fractional number
};

// What the text is, for errors.
struct JsonSource {
  const std::filesystem::path& file;
  const char* what;     // for example "the header"
  ErrorCode not_json;   // the code where it is not JSON
  ErrorCode too_large;  // the code where a token is too long
};

// No level of nesting beyond this one: the limit of serde_json, which the reference implementation
// of safetensors parses with.
inline constexpr int kDeepestJson = 127;

// Bytes from one opening quote to the next. It bounds what the parser copies of a hostile text.
inline constexpr std::size_t kLongestJsonToken = std::size_t{4} << 20;

// Parses untrusted text, which must be UTF-8, as exactly one JSON value (RFC 8259: no comments, no
// byte order mark). Beside the text it needs memory only for one token. Throws what the events
// throw, Error(source.not_json), also for text that is nested too deeply, and
// Error(source.too_large).
void stream_json(std::string text, JsonEvents& events, const JsonSource& source);

}  // namespace mxferry::internal
