#include "checkpoint/shard_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "checkpoint/file_name.h"
#include "checkpoint/json_stream.h"
#include "checkpoint/safetensors_header.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

// Whether a file name in the index stays below the folder and is printable.
bool is_safe_file_name(std::string_view name) {
  return stays_below(name) && printable(name) == name;
}

class IndexEvents final : public JsonEvents {
 public:
  explicit IndexEvents(const std::filesystem::path& file) : file_(file) {}

  ShardIndex take() {
    if (!has_weight_map_) refuse("the index has no weight_map", "", "");
    return std::move(index_);
  }

  void begin(JsonType container) override {
    start_value(container);
    ++depth_;
  }
  void end() override { --depth_; }
  void key(std::string& name) override;
  void string(std::string& value) override;
  void unsigned_integer(std::uint64_t value) override;
  void other(JsonType scalar) override { start_value(scalar); }

 private:
  // Number of containers open around the next value.
  static constexpr int kOutside = 0;
  static constexpr int kTop = 1;
  static constexpr int kMember = 2;  // inside metadata, weight_map or an unknown member

  enum class Member { metadata, weight_map, unknown };

  bool is_total_size() const noexcept {
    return depth_ == kMember && member_ == Member::metadata && key_ == "total_size";
  }

  void start_member(const std::string& name);
  void start_value(JsonType type) const;
  void add_entry(std::string& file_name);

  void expect(bool right, const char* expected, JsonType found) const {
    if (!right) refuse("the index has a value of a wrong type", expected, describe(found));
  }
  [[noreturn]] void refuse(const char* problem, std::string expected, std::string found) const {
    const bool in_entry = depth_ == kMember && member_ == Member::weight_map;
    throw Error(ErrorCode::invalid_index, {.problem = problem,
                                           .file = file_,
                                           .tensor = in_entry ? key_ : std::string(),
                                           .expected = std::move(expected),
                                           .found = std::move(found)});
  }

  const std::filesystem::path& file_;
  ShardIndex index_;
  bool has_metadata_ = false;
  bool has_weight_map_ = false;

  int depth_ = kOutside;
  Member member_ = Member::unknown;
  std::string key_;  // inside metadata or weight_map
};

void IndexEvents::key(std::string& name) {
  if (depth_ == kTop) start_member(name);
  if (depth_ == kMember) key_ = std::move(name);
}

void IndexEvents::start_member(const std::string& name) {
  member_ = Member::unknown;
  bool is_there_twice = false;
  if (name == "metadata") {
    member_ = Member::metadata;
    is_there_twice = std::exchange(has_metadata_, true);
  } else if (name == "weight_map") {
    member_ = Member::weight_map;
    is_there_twice = std::exchange(has_weight_map_, true);
  }
  if (is_there_twice) refuse("the index has a key twice", "", name);
}

// Called first for every value: throws if its type is not allowed in this place.
void IndexEvents::start_value(JsonType type) const {
  if (depth_ == kOutside) {
    expect(type == JsonType::object, "an object", type);
  } else if (depth_ == kTop && member_ == Member::weight_map) {
    expect(type == JsonType::object, "an object as weight_map", type);
  } else if (depth_ == kTop && member_ == Member::metadata) {
    expect(type == JsonType::object || type == JsonType::null, "an object as metadata", type);
  } else if (depth_ == kMember && member_ == Member::weight_map) {
    expect(type == JsonType::string, "a file name", type);
  } else if (is_total_size()) {
    expect(type == JsonType::unsigned_integer || type == JsonType::other_number,
           "a number as total_size", type);
  }
}

void IndexEvents::string(std::string& value) {
  start_value(JsonType::string);
  if (depth_ == kMember && member_ == Member::weight_map) add_entry(value);
}

void IndexEvents::add_entry(std::string& file_name) {
  if (!is_safe_file_name(file_name)) {
    refuse("the index gives a file name that is not one of this folder",
           "a relative name without '..'", "'" + file_name + "'");
  }
  if (key_.size() > kLongestTensorName) {
    refuse("the index has a tensor name that is too long", "", std::to_string(key_.size()));
  }
  if (index_.weight_map.size() == kMostIndexEntries) {
    refuse("the index has too many entries", "at most " + std::to_string(kMostIndexEntries), "");
  }
  if (!index_.weight_map.emplace(key_, std::move(file_name)).second) {
    refuse("the index has this tensor twice", "", "");
  }
}

void IndexEvents::unsigned_integer(std::uint64_t value) {
  start_value(JsonType::unsigned_integer);
  if (!is_total_size()) return;
  if (index_.total_size) refuse("the index has a key twice", "", "total_size");
  index_.total_size = value;
}

void check_utf8(const std::string& text) {
  if (!is_utf8(text)) {
    throw Error(ErrorCode::invalid_argument,
                {.problem = "a name for the index is not UTF-8 text", .found = text});
  }
}

}  // namespace

ShardIndex parse_shard_index(std::string text, const std::filesystem::path& file) {
  IndexEvents events(file);
  stream_json(std::move(text), events,
              {.file = file,
               .what = "the index",
               .not_json = ErrorCode::invalid_index,
               .too_large = ErrorCode::invalid_index});
  return events.take();
}

std::string serialize_shard_index(const ShardIndex& index) {
  for (const auto& [tensor, file] : index.weight_map) {
    check_utf8(tensor);
    check_utf8(file);
  }
  nlohmann::json json = {{"metadata", nlohmann::json::object()}, {"weight_map", index.weight_map}};
  if (index.total_size) json["metadata"]["total_size"] = *index.total_size;
  constexpr int kIndent = 2;
  constexpr bool kEscapeNonAscii = true;
  return json.dump(kIndent, ' ', kEscapeNonAscii) + "\n";
}

}  // namespace mxferry::internal
