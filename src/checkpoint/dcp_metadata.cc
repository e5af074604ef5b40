#include "checkpoint/dcp_metadata.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoint/json_stream.h"
#include "checkpoint/safetensors_header.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

constexpr auto kMostElements = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

// Builds the offsets from {"NAME": {"saved_offsets": [0, 720]}, ...}; other fields of an entry are
// ignored.
class ShardingEvents final : public JsonEvents {
 public:
  explicit ShardingEvents(const std::filesystem::path& file) : file_(file) {}

  ChunkOffsets take() { return std::move(offsets_); }

  void begin(JsonType container) override {
    start_value(container);
    ++depth_;
  }
  void end() override;
  void key(std::string& name) override;
  void string(std::string& /*value*/) override { start_value(JsonType::string); }
  void unsigned_integer(std::uint64_t value) override;
  void other(JsonType scalar) override { start_value(scalar); }

  [[noreturn]] void refuse(const char* problem, std::string expected, std::string found) const {
    throw Error(ErrorCode::invalid_sharding_info,
                {.problem = std::string(kShardingInfoKey) + " " + problem,
                 .file = file_,
                 .tensor = name_,
                 .expected = std::move(expected),
                 .found = std::move(found)});
  }

 private:
  // Number of containers open around the next value.
  static constexpr int kOutside = 0;
  static constexpr int kTop = 1;    // the keys are tensor names
  static constexpr int kEntry = 2;  // of a tensor
  static constexpr int kList = 3;   // its offsets, or inside an unknown field

  void start_value(JsonType type) const;
  void expect(bool right, const char* expected, JsonType found) const {
    if (!right) refuse("has a wrong entry", expected, describe(found));
  }

  const std::filesystem::path& file_;
  ChunkOffsets offsets_;
  int depth_ = kOutside;
  std::string name_;  // of the entry being read
  Shape entry_;       // its offsets so far
  bool has_offsets_ = false;
  bool is_offsets_ = false;  // of the next value in the entry
};

void ShardingEvents::key(std::string& name) {
  if (depth_ == kTop) {
    if (name.size() > kLongestTensorName) {
      refuse("has a tensor name that is too long", "", std::to_string(name.size()));
    }
    name_ = std::move(name);
    entry_.clear();
    has_offsets_ = false;
  } else if (depth_ == kEntry) {
    is_offsets_ = name == "saved_offsets";
    if (is_offsets_ && std::exchange(has_offsets_, true)) {
      refuse("has a field twice in one entry", "", name);
    }
  }
}

// Called first for every value: throws if its type is not allowed in this place.
void ShardingEvents::start_value(JsonType type) const {
  if (depth_ == kOutside) {
    expect(type == JsonType::object, "an object of tensors", type);
  } else if (depth_ == kTop) {
    expect(type == JsonType::object, "an object", type);
  } else if (is_offsets_) {
    const bool is_list = depth_ == kEntry;
    expect(type == (is_list ? JsonType::array : JsonType::unsigned_integer),
           is_list ? "an array as saved_offsets" : "a whole number as offset", type);
  }
}

void ShardingEvents::unsigned_integer(std::uint64_t value) {
  start_value(JsonType::unsigned_integer);
  if (!is_offsets_) return;
  if (value > kMostElements) {
    refuse("has an offset that is too large", "less than 2^63", std::to_string(value));
  }
  if (entry_.size() == kHighestRank) {
    refuse("has offsets of too many dimensions", "at most " + std::to_string(kHighestRank), "");
  }
  entry_.push_back(static_cast<std::int64_t>(value));
}

void ShardingEvents::end() {
  --depth_;
  if (depth_ == kEntry) is_offsets_ = false;
  if (depth_ != kTop) return;
  if (!has_offsets_) refuse("lacks a field", "saved_offsets", "");
  if (offsets_.size() == kMostTensors) {
    refuse("has too many entries", "at most " + std::to_string(kMostTensors), "");
  }
  if (!offsets_.emplace(name_, entry_).second) refuse("has this tensor twice", "", "");
  name_.clear();
}

[[noreturn]] void refuse_tensor(const char* problem, const std::filesystem::path& file,
                                const std::string& tensor, std::string expected,
                                std::string found) {
  throw Error(ErrorCode::invalid_sharding_info, {.problem = problem,
                                                 .file = file,
                                                 .tensor = tensor,
                                                 .expected = std::move(expected),
                                                 .found = std::move(found)});
}

void check_version(const SafetensorsHeader& header, const std::filesystem::path& file) {
  const auto version = header.metadata.find(kDcpVersionKey);
  if (version == header.metadata.end() || version->second == kDcpVersion) return;
  throw Error(ErrorCode::invalid_sharding_info,
              {.problem = std::string(kDcpVersionKey) + " is not one that this release knows",
               .file = file,
               .expected = kDcpVersion,
               .found = "'" + version->second + "'"});
}

void check_fit(const TensorInfo& tensor, const Shape& offsets, const std::filesystem::path& file) {
  if (offsets.size() != tensor.shape.size()) {
    refuse_tensor("the offsets of the chunk have another number of dimensions than its shape", file,
                  tensor.name, std::to_string(tensor.shape.size()), std::to_string(offsets.size()));
  }
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] <= std::numeric_limits<std::int64_t>::max() - tensor.shape[i]) continue;
    refuse_tensor("the chunk ends beyond what a tensor can be", file, tensor.name,
                  "less than 2^63 elements",
                  to_string(tensor.shape) + " from " + to_string(offsets) + " on");
  }
}

}  // namespace

std::optional<ChunkOffsets> read_chunk_offsets(const SafetensorsHeader& header,
                                               const std::filesystem::path& file) {
  const auto info = header.metadata.find(kShardingInfoKey);
  if (info == header.metadata.end()) return std::nullopt;
  check_version(header, file);
  ShardingEvents events(file);
  stream_json(info->second, events,
              {.file = file,
               .what = kShardingInfoKey,
               .not_json = ErrorCode::invalid_sharding_info,
               .too_large = ErrorCode::invalid_sharding_info});
  ChunkOffsets offsets = events.take();
  if (offsets.empty()) events.refuse("is empty", "an entry for each tensor", "none");
  for (const TensorInfo& tensor : header.tensors) {
    const auto found = offsets.find(tensor.name);
    if (found == offsets.end()) {
      refuse_tensor("DCP_SHARDING_INFO does not say which part of the tensor the file holds", file,
                    tensor.name, "", "");
    }
    check_fit(tensor, found->second, file);
  }
  if (offsets.size() == header.tensors.size()) return offsets;
  std::set<std::string_view> held;
  for (const TensorInfo& tensor : header.tensors) held.insert(tensor.name);
  const auto extra = std::ranges::find_if_not(
      offsets, [&](const auto& entry) { return held.contains(entry.first); });
  refuse_tensor("DCP_SHARDING_INFO speaks of a tensor that the file does not hold", file,
                extra->first, "", "");
}

std::map<std::string, std::string> chunk_metadata(const ChunkOffsets& offsets) {
  nlohmann::json info = nlohmann::json::object();
  for (const auto& [name, offset] : offsets) info[name] = {{"saved_offsets", offset}};
  // Escapes as Python's json does.
  constexpr int kOneLine = -1;
  constexpr bool kEscapeNonAscii = true;
  return {{kShardingInfoKey, info.dump(kOneLine, ' ', kEscapeNonAscii)},
          {kDcpVersionKey, kDcpVersion},
          {"format", "pt"}};
}

}  // namespace mxferry::internal
