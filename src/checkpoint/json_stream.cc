#include "checkpoint/json_stream.h"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace mxferry::internal {
namespace {

[[noreturn]] void not_json(const JsonSource& source, std::string found) {
  throw Error(source.not_json, {.problem = std::string(source.what) + " is not valid JSON",
                                .file = source.file,
                                .found = std::move(found)});
}

bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// The half-open range of the text without leading and trailing white space.
struct Body {
  std::size_t begin = 0;
  std::size_t end = 0;
};

Body find_body(std::string_view text) noexcept {
  Body body{0, text.size()};
  while (body.begin < body.end && is_space(text[body.begin])) ++body.begin;
  while (body.begin < body.end && is_space(text[body.end - 1])) --body.end;
  return body;
}

// On an error, the parser copies the text since the last opening quote several times, with every
// control character spelled out. So tame() limits the length of such a stretch and replaces white
// space with spaces. The parser also takes NUL for the end of the text and skips a byte order mark;
// JSON allows neither, so tame() refuses both.
void tame(std::string& text, Body body, const JsonSource& source) {
  bool in_string = false;
  std::size_t last_quote = body.begin;
  for (std::size_t i = body.begin; i < body.end; ++i) {
    char& c = text[i];
    if (c == '"') {
      in_string = !in_string;
      if (in_string) last_quote = i;
    } else if (c == '\\' && in_string && i + 1 < body.end && text[i + 1] != '\0') {
      ++i;
    } else if (c == '\0') {
      not_json(source, "a NUL at byte " + std::to_string(i));
    } else if (!in_string && is_space(c)) {
      c = ' ';
    }
    if (i - last_quote > kLongestJsonToken) {
      throw Error(source.too_large,
                  {.problem = std::string(source.what) + " has a text that is too long",
                   .file = source.file,
                   .expected = "at most " + std::to_string(kLongestJsonToken) +
                               " bytes from one quote to the next"});
    }
  }
  if (body.begin < body.end && text[body.begin] == '\xEF') not_json(source, "a byte order mark");
}

// Forwards the parser's events and tracks the depth.
class Bridge {
 public:
  Bridge(JsonEvents& events, const JsonSource& source, std::size_t offset)
      : events_(events), source_(source), offset_(offset) {}

  bool null() { return other(JsonType::null); }
  bool boolean(bool /*value*/) { return other(JsonType::boolean); }
  bool number_integer(std::int64_t /*value*/) { return other(JsonType::other_number); }
  bool number_float(double /*value*/, const std::string& /*text*/) {
    return other(JsonType::other_number);
  }
  bool number_unsigned(std::uint64_t value) {
    events_.unsigned_integer(value);
    return true;
  }
  bool string(std::string& value) {
    events_.string(value);
    return true;
  }
  bool binary(nlohmann::json::binary_t& /*value*/) { return false; }  // not in JSON text
  bool key(std::string& name) {
    events_.key(name);
    return true;
  }
  bool start_object(std::size_t /*size*/) { return begin(JsonType::object); }
  bool start_array(std::size_t /*size*/) { return begin(JsonType::array); }
  bool end_object() { return end(); }
  bool end_array() { return end(); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) {
    not_json(source_, "an error at byte " + std::to_string(offset_ + position));
  }

 private:
  bool begin(JsonType container) {
    if (++depth_ > kDeepestJson) {
      not_json(source_, "more than " + std::to_string(kDeepestJson) + " levels of nesting");
    }
    events_.begin(container);
    return true;
  }
  bool end() {
    --depth_;
    events_.end();
    return true;
  }
  bool other(JsonType scalar) {
    events_.other(scalar);
    return true;
  }

  JsonEvents& events_;
  const JsonSource& source_;
  std::size_t offset_;  // of the parsed part in the text
  int depth_ = 0;
};

}  // namespace

const char* describe(JsonType type) noexcept {
  switch (type) {
    case JsonType::null:
      return "null";
    case JsonType::boolean:
      return "true or false";
    case JsonType::string:
      return "a string";
    case JsonType::unsigned_integer:
      return "a number";
    case JsonType::other_number:
      return "a negative, fractional or too large number";
    case JsonType::object:
      return "an object";
    case JsonType::array:
      return "an array";
  }
  return "";
}

void stream_json(std::string text, JsonEvents& events, const JsonSource& source) {
  const Body body = find_body(text);
  tame(text, body, source);
  Bridge bridge(events, source, body.begin);
  nlohmann::json::sax_parse(text.begin() + static_cast<std::ptrdiff_t>(body.begin),
                            text.begin() + static_cast<std::ptrdiff_t>(body.end), &bridge);
}

}  // namespace mxferry::internal
