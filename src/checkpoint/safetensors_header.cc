#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/checked.h"
#include "base/text.h"
#include "checkpoint/json_stream.h"
#include "mxferry/error.h"

namespace mxferry::internal {
namespace {

constexpr std::string_view kMetadataName = "__metadata__";

// The fields of a tensor's entry: {"dtype": .., "shape": .., "data_offsets": ..} in any order and
// with others between, or an array of these three.
enum class Field { dtype, shape, data_offsets, unknown };
constexpr std::array<std::string_view, 3> kFieldNames = {"dtype", "shape", "data_offsets"};

Field field_of(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kFieldNames.size(); ++i) {
    if (kFieldNames[i] == name) return static_cast<Field>(i);
  }
  return Field::unknown;
}

// Builds the tensors and the metadata from the events of a header.
class HeaderEvents final : public JsonEvents {
 public:
  explicit HeaderEvents(const std::filesystem::path& file) : file_(file) {}

  std::vector<TensorInfo> take_tensors() { return std::move(tensors_); }
  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }

  void begin(JsonType container) override {
    start_value(container);
    ++depth_;
  }
  void end() override;
  void key(std::string& name) override;
  void string(std::string& value) override;
  void unsigned_integer(std::uint64_t value) override;
  void other(JsonType scalar) override { start_value(scalar); }

 private:
  // Number of containers open around the next value.
  static constexpr int kOutside = 0;
  static constexpr int kHeader = 1;  // the keys are tensor names
  static constexpr int kEntry = 2;   // of a tensor, or `__metadata__`
  static constexpr int kList = 3;    // a shape or offsets, or inside an unknown field

  bool is_ignored() const noexcept {
    return depth_ >= kEntry && !in_metadata_ && field_ == Field::unknown;
  }

  void start_value(JsonType type);
  void start_member(JsonType type);
  void start_field(JsonType type);
  void note_field(Field field);
  void add_number(std::uint64_t value);
  void finish_tensor();

  void expect(bool right, const char* expected, JsonType found) const {
    if (!right)
      refuse(ErrorCode::invalid_header_json, "has a wrong entry", expected, describe(found));
  }
  [[noreturn]] void refuse(ErrorCode code, const char* problem, std::string expected,
                           std::string found) const {
    throw Error(code, {.problem = "the header " + std::string(problem),
                       .file = file_,
                       .tensor = in_metadata_ ? std::string() : tensor_.name,
                       .expected = std::move(expected),
                       .found = std::move(found)});
  }

  const std::filesystem::path& file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;

  int depth_ = kOutside;
  bool in_metadata_ = false;
  bool had_metadata_ = false;
  std::string metadata_key_;
  TensorInfo tensor_;  // the one being read
  Field field_ = Field::unknown;
  std::array<bool, kFieldNames.size()> has_field_{};
  bool entry_is_array_ = false;
  std::size_t element_ = 0;  // position in an entry that is an array
  std::size_t offsets_ = 0;  // how many of the two are read
};

void HeaderEvents::key(std::string& name) {
  if (depth_ == kHeader) {
    in_metadata_ = name == kMetadataName;
    if (in_metadata_ && std::exchange(had_metadata_, true)) {
      refuse(ErrorCode::duplicate_key, "has __metadata__ twice", "", "");
    }
    if (name.size() > kLongestTensorName) {
      refuse(ErrorCode::header_too_large, "has a tensor name that is too long",
             "at most " + std::to_string(kLongestTensorName) + " bytes",
             std::to_string(name.size()));
    }
    tensor_.name = std::move(name);
  } else if (depth_ == kEntry && in_metadata_) {
    metadata_key_ = std::move(name);
  } else if (depth_ == kEntry) {
    note_field(field_of(name));
  }
}

void HeaderEvents::note_field(Field field) {
  field_ = field;
  if (field == Field::unknown) return;
  const auto i = static_cast<std::size_t>(field);
  if (std::exchange(has_field_[i], true)) {
    refuse(ErrorCode::duplicate_key, "has a field twice in one entry", "",
           std::string(kFieldNames[i]));
  }
}

// Called first for every value: throws if its type is not allowed in this place.
void HeaderEvents::start_value(JsonType type) {
  if (depth_ == kOutside) {
    expect(type == JsonType::object, "an object of tensors", type);
  } else if (depth_ == kHeader) {
    start_member(type);
  } else if (in_metadata_) {
    expect(depth_ == kEntry && type == JsonType::string, "only strings in __metadata__", type);
  } else if (depth_ == kEntry) {
    start_field(type);
  } else if (!is_ignored()) {
    expect(depth_ == kList && type == JsonType::unsigned_integer, "a whole number", type);
  }
}

void HeaderEvents::start_member(JsonType type) {
  if (in_metadata_) {
    expect(type == JsonType::object || type == JsonType::null, "an object or null", type);
    return;
  }
  expect(type == JsonType::object || type == JsonType::array, "an object", type);
  entry_is_array_ = type == JsonType::array;
  element_ = 0;
  offsets_ = 0;
  has_field_ = {};
  tensor_.shape.clear();
}

void HeaderEvents::start_field(JsonType type) {
  if (entry_is_array_) {
    expect(element_ < kFieldNames.size(), "no more than three values", type);
    note_field(static_cast<Field>(element_++));
  }
  if (field_ == Field::dtype) expect(type == JsonType::string, "a string as dtype", type);
  if (field_ == Field::shape) expect(type == JsonType::array, "an array as shape", type);
  if (field_ == Field::data_offsets) {
    expect(type == JsonType::array, "an array as data_offsets", type);
  }
}

void HeaderEvents::string(std::string& value) {
  start_value(JsonType::string);
  if (in_metadata_) {
    if (metadata_.size() == kMostMetadataEntries) {
      refuse(ErrorCode::header_too_large, "has too many metadata entries",
             "at most " + std::to_string(kMostMetadataEntries), "");
    }
    if (!metadata_.emplace(metadata_key_, std::move(value)).second) {
      refuse(ErrorCode::duplicate_key, "has a metadata key twice", "", metadata_key_);
    }
  } else if (!is_ignored()) {
    const std::optional<DType> dtype = parse_dtype(value);
    if (!dtype) {
      refuse(ErrorCode::invalid_header_json, "has an unknown dtype", "one of safetensors 0.8",
             "'" + value + "'");
    }
    tensor_.dtype = *dtype;
  }
}

void HeaderEvents::unsigned_integer(std::uint64_t value) {
  start_value(JsonType::unsigned_integer);
  if (!is_ignored()) add_number(value);
}

void HeaderEvents::add_number(std::uint64_t value) {
  if (field_ == Field::shape) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      refuse(ErrorCode::size_overflow, "has a size that is too large", "less than 2^63",
             std::to_string(value));
    }
    if (tensor_.shape.size() == kHighestRank) {
      refuse(ErrorCode::header_too_large, "has a shape with too many dimensions",
             "at most " + std::to_string(kHighestRank), "");
    }
    tensor_.shape.push_back(static_cast<std::int64_t>(value));
    return;
  }
  ++offsets_;
  (offsets_ == 1 ? tensor_.begin : tensor_.end) = value;
}

void HeaderEvents::end() {
  --depth_;
  if (depth_ == kHeader && !in_metadata_) finish_tensor();
}

void HeaderEvents::finish_tensor() {
  for (std::size_t i = 0; i < kFieldNames.size(); ++i) {
    if (!has_field_[i]) {
      refuse(ErrorCode::invalid_header_json, "lacks a field", std::string(kFieldNames[i]), "");
    }
  }
  if (offsets_ != 2) {
    refuse(ErrorCode::invalid_header_json, "has a wrong entry", "two data_offsets",
           std::to_string(offsets_));
  }
  if (tensors_.size() == kMostTensors) {
    refuse(ErrorCode::header_too_large, "has too many tensors",
           "at most " + std::to_string(kMostTensors), "");
  }
  // Copying the shape allocates only what it needs; the original's memory is reused.
  tensors_.push_back(
      {std::move(tensor_.name), tensor_.dtype, tensor_.shape, tensor_.begin, tensor_.end});
  tensor_.name.clear();
}

void refuse_duplicates(const std::vector<TensorInfo>& tensors, const std::filesystem::path& file) {
  std::vector<const TensorInfo*> by_name;
  by_name.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) by_name.push_back(&tensor);
  std::ranges::sort(by_name, {}, &TensorInfo::name);
  const auto twice = std::ranges::adjacent_find(by_name, {}, &TensorInfo::name);
  if (twice != by_name.end()) {
    throw Error(
        ErrorCode::duplicate_key,
        {.problem = "the header has this name twice", .file = file, .tensor = (*twice)->name});
  }
}

// Returns where the last tensor ends. Checks in the order of the reference implementation
// (safetensors 0.8, Metadata::validate), so that a file with several faults gets the same error.
std::uint64_t check_tensors(const std::vector<TensorInfo>& tensors,
                            const std::filesystem::path& file) {
  std::uint64_t position = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != position || tensor.end < tensor.begin) {
      throw Error(ErrorCode::invalid_offset,
                  {.problem = "the tensors leave a hole, overlap or run backwards",
                   .file = file,
                   .tensor = tensor.name,
                   .expected = "data_offsets from " + std::to_string(position),
                   .found = std::to_string(tensor.begin) + " to " + std::to_string(tensor.end)});
    }
    const std::uint64_t size = byte_count(tensor, file);
    if (tensor.end - tensor.begin != size) {
      throw Error(ErrorCode::tensor_size_mismatch,
                  {.problem = "the offsets do not fit the dtype and shape",
                   .file = file,
                   .tensor = tensor.name,
                   .expected = std::to_string(size) + " bytes for " +
                               std::string(name(tensor.dtype)) + " " + to_string(tensor.shape),
                   .found = std::to_string(tensor.end - tensor.begin)});
    }
    position = tensor.end;
  }
  return position;
}

}  // namespace

std::uint64_t byte_count(const TensorInfo& tensor, const std::filesystem::path& file) {
  constexpr auto kMostElements =
      static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::optional<std::uint64_t> elements = static_cast<std::uint64_t>(1);
  for (const std::int64_t size : tensor.shape) {
    elements = checked_multiply(*elements, static_cast<std::uint64_t>(size));
    if (!elements || *elements > kMostElements) elements.reset();
    if (!elements) break;
  }
  std::optional<std::uint64_t> bit_count;
  if (elements) {
    bit_count = checked_multiply(*elements, static_cast<std::uint64_t>(bits(tensor.dtype)));
  }
  if (!bit_count) {
    throw Error(ErrorCode::size_overflow, {.problem = "the size of the tensor overflows 64 bits",
                                           .file = file,
                                           .tensor = tensor.name,
                                           .found = to_string(tensor.shape)});
  }
  if (*bit_count % 8 != 0) {
    throw Error(ErrorCode::misaligned_size,
                {.problem = "the tensor does not fill its last byte",
                 .file = file,
                 .tensor = tensor.name,
                 .found = std::string(name(tensor.dtype)) + " " + to_string(tensor.shape)});
  }
  return *bit_count / 8;
}

SafetensorsHeader parse_safetensors_header(std::string text, const std::filesystem::path& file) {
  if (!is_utf8(text)) {
    throw Error(ErrorCode::invalid_header_utf8,
                {.problem = "the header is not UTF-8 text", .file = file});
  }
  SafetensorsHeader header;
  header.data_offset = 8 + text.size();
  HeaderEvents events(file);
  stream_json(std::move(text), events,
              {.file = file,
               .what = "the header",
               .not_json = ErrorCode::invalid_header_json,
               .too_large = ErrorCode::header_too_large});
  header.tensors = events.take_tensors();
  header.metadata = events.take_metadata();
  refuse_duplicates(header.tensors, file);
  std::ranges::sort(header.tensors, {}, [](const TensorInfo& tensor) {
    return std::tie(tensor.begin, tensor.end, tensor.name);
  });
  header.data_size = check_tensors(header.tensors, file);
  return header;
}

}  // namespace mxferry::internal
