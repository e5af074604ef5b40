#include "gpt_oss/config_object.h"

#include <cstdint>
#include <string_view>
#include <utility>

namespace mxferry::internal {
namespace {

using Json = nlohmann::ordered_json;

// Limits far above real configs. They bound memory, about 80 bytes per value, and time: the parser
// compares each key of an object with those before it.
constexpr int kDeepestNesting = 32;
constexpr int kMostKeys = 10'000;

Error refusal(const std::filesystem::path& file, std::string problem, std::string found) {
  return {ErrorCode::invalid_config,
          {.problem = std::move(problem),
           .file = file,
           .expected = "a JSON object",
           .found = std::move(found)}};
}

// Walks through a text and throws if it exceeds the limits. Invalid JSON ends the walk. (The parser
// has callbacks for this, but with them its time grows with the square of the number of objects in
// an array.)
class LimitCheck final : public nlohmann::json_sax<Json> {
 public:
  explicit LimitCheck(const std::filesystem::path& file) : file_(file) {}

  bool null() override { return value(); }
  bool boolean(bool /*value*/) override { return value(); }
  bool number_integer(std::int64_t /*value*/) override { return value(); }
  bool number_unsigned(std::uint64_t /*value*/) override { return value(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return value(); }
  bool string(std::string& /*value*/) override { return value(); }
  bool binary(Json::binary_t& /*value*/) override { return value(); }
  bool start_object(std::size_t /*size*/) override { return begin(); }
  bool start_array(std::size_t /*size*/) override { return begin(); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(std::string& /*name*/) override {
    if (++keys_ > kMostKeys) refuse("too many keys", kMostKeys);
    return true;
  }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const Json::exception& /*error*/) override {
    return false;
  }

 private:
  bool value() {
    if (++values_ > kMostConfigValues) refuse("too many values", kMostConfigValues);
    return true;
  }
  bool begin() {
    if (++depth_ > kDeepestNesting) refuse("nested too deeply", kDeepestNesting);
    return value();
  }
  bool end() {
    --depth_;
    return true;
  }
  [[noreturn]] void refuse(const char* problem, int most) const {
    throw refusal(file_, problem, "more than " + std::to_string(most));
  }

  const std::filesystem::path& file_;
  int depth_ = 0;
  int keys_ = 0;
  int values_ = 0;
};

}  // namespace

Json parse_config_object(const std::string& text, const std::filesystem::path& file) {
  // The parser would take a NUL for the end of the text.
  if (text.find('\0') != std::string::npos) throw refusal(file, "not valid JSON", "a NUL");
  LimitCheck limits(file);
  Json json;
  try {
    Json::sax_parse(text, &limits);
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    // The message quotes the text that the parser could not read, however long that is.
    constexpr std::size_t kLongestReason = 300;
    throw refusal(file, "not valid JSON", std::string(error.what()).substr(0, kLongestReason));
  }
  if (!json.is_object()) throw refusal(file, "not a configuration", json.type_name());
  return json;
}

}  // namespace mxferry::internal
