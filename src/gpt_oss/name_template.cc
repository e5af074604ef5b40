#include "gpt_oss/name_template.h"

#include <array>
#include <utility>
#include <vector>

#include "gpt_oss/layout_table.h"

namespace mxferry::internal {
namespace {

constexpr std::string_view kExpertField = "{E}";
constexpr std::string_view kHalfField = "{gate|up}";
constexpr std::array<std::string_view, 2> kHalves = {"gate", "up"};
constexpr std::array<std::pair<std::string_view, DType>, 2> kDTypeFields = {
    {{" (U8)", DType::U8}, {" (U32)", DType::U32}}};

bool contains(std::string_view text, std::string_view field) noexcept {
  return text.find(field) != std::string_view::npos;
}

// Replaces the last one: what stands before a layout's suffix is not the table's.
void replace(std::string& text, std::string_view field, std::string_view by) {
  const std::size_t place = text.rfind(field);
  if (place != std::string::npos) text.replace(place, field.size(), by);
}

std::string without_dtype(std::string text) {
  for (const auto& [field, dtype] : kDTypeFields) {
    if (text.ends_with(field)) text.resize(text.size() - field.size());
  }
  return text;
}

// A template whose only field left is the expert's number.
struct Pattern {
  std::string name_template = {};  // the end of Member::name_template
  std::string before = {};         // what precedes the number
  std::string after = {};
  bool has_expert = false;
  std::int64_t half = 0;
  std::optional<DType> dtype;
  std::string_view layer_component = {};
  bool is_also_dense = false;  // with another dtype, the name is that of dense weights
};

void add_patterns(const Spelling& spelling, std::string_view layer_component, bool is_also_dense,
                  std::vector<Pattern>& patterns) {
  const auto& [read, written] = spelling;
  for (std::int64_t half = 0; half < (has_half_field(read) ? 2 : 1); ++half) {
    std::string text = without_dtype(read);
    replace(text, kHalfField, kHalves[static_cast<std::size_t>(half)]);
    Pattern pattern{.name_template = written,
                    .has_expert = has_expert_field(read),
                    .half = half,
                    .dtype = dtype_field(read),
                    .layer_component = layer_component,
                    .is_also_dense = is_also_dense};
    const std::size_t place = text.find(kExpertField);
    pattern.before = text.substr(0, pattern.has_expert ? place : std::string::npos);
    if (pattern.has_expert) pattern.after = text.substr(place + kExpertField.size());
    patterns.push_back(std::move(pattern));
  }
}

// Those with a dtype come first: they take precedence.
std::vector<Pattern> all_patterns() {
  std::vector<Pattern> patterns;
  for (const bool with_dtype : {true, false}) {
    for (const LayoutTable& table : layout_tables()) {
      for (const LayoutRow& row : table.rows) {
        const std::string dense = std::string(row.suffix) + std::string(row.dense_ending);
        for (const Spelling& spelling : spellings(row)) {
          const std::string& read = spelling.read;
          if (!has_fields(read) || dtype_field(read).has_value() != with_dtype) continue;
          add_patterns(spelling, table.layer_component, with_dtype && without_dtype(read) == dense,
                       patterns);
        }
      }
    }
  }
  return patterns;
}

std::optional<Member> match(const Pattern& pattern, std::string_view name) {
  if (!name.ends_with(pattern.has_expert ? pattern.after : pattern.before)) return std::nullopt;
  Member member{.half = pattern.half};
  std::string_view rest = name;
  if (pattern.has_expert) {
    rest.remove_suffix(pattern.after.size());
    const std::size_t digits = rest.find_last_not_of("0123456789") + 1;
    const auto expert = parse_index(rest.substr(digits));
    rest = rest.substr(0, digits);
    if (!expert || !rest.ends_with(pattern.before)) return std::nullopt;
    member.expert = *expert;
  }
  rest.remove_suffix(pattern.before.size());
  if (!layer_number(rest, pattern.layer_component)) return std::nullopt;
  member.name_template = std::string(rest) + pattern.name_template;
  return member;
}

}  // namespace

bool has_fields(std::string_view name_template) noexcept {
  return has_expert_field(name_template) || has_half_field(name_template) ||
         dtype_field(name_template);
}
bool has_expert_field(std::string_view name_template) noexcept {
  return contains(name_template, kExpertField);
}
bool has_half_field(std::string_view name_template) noexcept {
  return contains(name_template, kHalfField);
}
std::optional<DType> dtype_field(std::string_view name_template) noexcept {
  for (const auto& [field, dtype] : kDTypeFields) {
    if (name_template.ends_with(field)) return dtype;
  }
  return std::nullopt;
}

std::optional<Member> parse_member(std::string_view name, std::optional<DType> dtype) {
  static const std::vector<Pattern> patterns = all_patterns();
  if (has_fields(name)) return std::nullopt;  // a file's own braces
  for (const bool any_dtype : {false, true}) {
    for (const Pattern& pattern : patterns) {
      const bool fits = !dtype || !pattern.dtype || *pattern.dtype == *dtype;
      if (!fits && (!any_dtype || pattern.is_also_dense)) continue;
      if (auto member = match(pattern, name)) return member;
    }
  }
  return std::nullopt;
}

std::string member_name(const Member& member) {
  std::string name = without_dtype(member.name_template);
  replace(name, kExpertField, std::to_string(member.expert));
  replace(name, kHalfField, kHalves[static_cast<std::size_t>(member.half)]);
  return name;
}

}  // namespace mxferry::internal
