#include "gpt_oss/stacks.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/checked.h"
#include "gpt_oss/name_template.h"
#include "mxferry/mxfp4.h"
#include "recipe/chunks.h"

namespace mxferry::internal {
namespace {

// Rows, of which gate and up have every second one, are dimension 1 of a stack.
constexpr std::size_t kRows = 1;

// The tensors of one stack.
struct Members {
  std::map<std::pair<std::int64_t, std::int64_t>, std::size_t> at;  // (expert, half): the index
  std::string twice;  // the name of a tensor whose place another one has
};

std::int64_t bytes_of_element(DType dtype) noexcept {
  return bits(dtype) / 8;
}

std::string form_of(const StoredTensor& tensor) {
  return "shape " + to_string(tensor.shape) + " and dtype " + std::string(name(tensor.dtype));
}

// Whether the tensor's last dimension is whole blocks, as elements of its dtype.
bool holds_blocks(const StoredTensor& tensor) {
  if (tensor.shape.empty()) return false;
  const auto bytes = checked_multiply(static_cast<std::uint64_t>(tensor.shape.back()),
                                      static_cast<std::uint64_t>(bytes_of_element(tensor.dtype)));
  return bytes && *bytes <= INT64_MAX && *bytes % kBlockBytes == 0;
}

// Why a tensor cannot be a member; empty if it can.
std::string flaw_of_member(const StoredTensor& tensor, const std::string& stack) {
  const std::optional<DType> dtype = dtype_field(stack);
  if (dtype && tensor.dtype != *dtype) {
    return "expected dtype " + std::string(name(*dtype)) + ", found " +
           std::string(name(tensor.dtype));
  }
  if (dtype && !holds_blocks(tensor)) {
    return "shape " + to_string(tensor.shape) + ": a row is not a multiple of " +
           std::to_string(kBlockBytes) + " bytes, as MXFP4 blocks are";
  }
  const std::size_t rank = tensor.shape.size() + (has_expert_field(stack) ? 1 : 0);
  if (has_half_field(stack) && rank <= kRows) {
    return "shape " + to_string(tensor.shape) + " has no dimension for rows";
  }
  if ((dtype || has_half_field(stack)) && tensor.chunks.size() > 1) {
    return "it is cut among the files of ranks, which is not supported for this layout";
  }
  return "";
}

// Why the members do not make a stack; empty if they do.
std::string flaw_of(const Catalog& catalog, const std::string& stack, const Members& members) {
  if (!members.twice.empty()) {
    return "the same parameter is there twice, once as '" + members.twice + "'";
  }
  const StoredTensor& first = catalog[members.at.begin()->second];
  const std::int64_t experts = members.at.rbegin()->first.first + 1;
  const std::int64_t halves = has_half_field(stack) ? 2 : 1;
  for (std::int64_t i = 0; i < experts * halves; ++i) {
    const Member member{stack, i / halves, i % halves};
    const auto found = members.at.find({member.expert, member.half});
    if (found == members.at.end()) {
      return "'" + member_name(member) + "' is missing" +
             (has_expert_field(stack)
                  ? " (there are tensors of " + std::to_string(experts) + " experts)"
                  : "");
    }
    const StoredTensor& tensor = catalog[found->second];
    if (std::string flaw = flaw_of_member(tensor, stack); !flaw.empty()) return flaw;
    if (tensor.shape != first.shape || tensor.dtype != first.dtype) {
      return "'" + tensor.name + "' has " + form_of(tensor) + ", '" + first.name + "' has " +
             form_of(first);
    }
  }
  return "";
}

// The shape of blocks that are stored as elements of another dtype.
Shape as_blocks(Shape shape, DType dtype) {
  shape.back() = shape.back() * bytes_of_element(dtype) / kBlockBytes;
  shape.push_back(kBlockBytes);
  return shape;
}

Shape as_elements(Shape shape, DType dtype) {
  shape.pop_back();
  shape.back() = shape.back() * kBlockBytes / bytes_of_element(dtype);
  return shape;
}

void insert(Shape& shape, std::size_t dimension, std::int64_t size) {
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(dimension), size);
}

// The boxes of a member in StoredTensor::chunk_shape of the stack.
std::vector<StoredChunk> chunks_of(StoredTensor& tensor, const std::string& stack,
                                   std::int64_t expert, std::int64_t half) {
  std::vector<StoredChunk> chunks = std::move(tensor.chunks);
  if (chunks.empty()) chunks = {{{}, tensor.shape, tensor.shard, tensor.offset}};
  for (StoredChunk& chunk : chunks) {
    if (dtype_field(stack)) chunk.sizes = as_blocks(chunk.sizes, tensor.dtype);
    if (chunk.offsets.empty() || dtype_field(stack)) chunk.offsets = Shape(chunk.sizes.size(), 0);
    if (has_expert_field(stack)) {
      insert(chunk.offsets, 0, expert);
      insert(chunk.sizes, 0, 1);
    }
    if (has_half_field(stack)) {
      insert(chunk.offsets, kRows + 1, half);
      insert(chunk.sizes, kRows + 1, 1);
    }
  }
  return chunks;
}

// nullopt if the size does not fit into 64 bits.
std::optional<StoredTensor> stack(Catalog& catalog, const std::string& name,
                                  const Members& members) {
  const StoredTensor& first = catalog[members.at.begin()->second];
  const auto bytes = checked_multiply(first.byte_count, members.at.size());
  if (!bytes) return std::nullopt;
  StoredTensor result{.name = name,
                      .dtype = dtype_field(name) ? DType::U8 : first.dtype,
                      .shape = first.shape,
                      .shard = first.shard,
                      .offset = first.offset,
                      .byte_count = *bytes};
  if (dtype_field(name)) result.shape = as_blocks(result.shape, first.dtype);
  if (has_expert_field(name)) insert(result.shape, 0, members.at.rbegin()->first.first + 1);
  if (has_half_field(name)) {
    result.chunk_shape = result.shape;
    insert(result.chunk_shape, kRows + 1, 2);
    if (__builtin_mul_overflow(result.shape[kRows], 2, &result.shape[kRows])) return std::nullopt;
  }
  result.stacked = members.at.size();
  for (const auto& [place, index] : members.at) {
    for (StoredChunk& chunk : chunks_of(catalog[index], name, place.first, place.second)) {
      result.chunks.push_back(std::move(chunk));
    }
  }
  return result;
}

std::map<std::string, Members> find_stacks(const Catalog& catalog) {
  std::map<std::string, Members> stacks;
  for (std::size_t i = 0; i < catalog.size(); ++i) {
    const auto member = parse_member(catalog[i].name, catalog[i].dtype);
    if (!member) continue;
    Members& members = stacks[member->name_template];
    if (!members.at.try_emplace({member->expert, member->half}, i).second) {
      members.twice = catalog[i].name;
    }
  }
  return stacks;
}

// Turns one expert's stack into its tensor, or into the two of gate and up.
void unstack(Catalog& target, std::size_t index, std::int64_t expert) {
  StoredTensor& tensor = target[index];
  tensor.stacked = 0;
  const Member member{tensor.name, expert};
  std::size_t rows = kRows;
  if (const auto dtype = dtype_field(tensor.name)) {
    tensor.shape = as_elements(tensor.shape, *dtype);
    tensor.dtype = *dtype;
  }
  if (has_expert_field(tensor.name)) {
    tensor.shape.erase(tensor.shape.begin());
    --rows;
  }
  tensor.name = member_name(member);
  if (!has_half_field(member.name_template)) return;
  std::uint64_t row_count = 1;
  for (std::size_t i = 0; i <= rows; ++i) row_count *= static_cast<std::uint64_t>(tensor.shape[i]);
  tensor.shape[rows] /= 2;
  tensor.byte_count /= 2;
  StoredTensor odd = tensor;
  odd.name = member_name({member.name_template, expert, 1});
  if (row_count > 0) tensor.odd_rows = {target.size(), tensor.byte_count * 2 / row_count};
  target.push_back(std::move(odd));
}

}  // namespace

void stack_tensors(Catalog& catalog, std::vector<Problem>& problems) {
  const std::map<std::string, Members> stacks = find_stacks(catalog);
  if (stacks.empty()) return;
  Catalog result;
  std::vector<bool> is_taken(catalog.size());
  constexpr std::size_t kMostProblems = 100;  // of a hostile checkpoint's thousands
  std::size_t flaws = 0;
  for (const auto& [name, members] : stacks) {
    std::string flaw = flaw_of(catalog, name, members);
    std::optional<StoredTensor> whole;
    if (flaw.empty()) {
      whole = stack(catalog, name, members);
      if (!whole) flaw = "all its tensors together are too large";
    }
    if (!whole) {
      if (++flaws > kMostProblems) continue;
      problems.push_back({Severity::fatal, ErrorCode::missing_tensor, "", name, std::move(flaw)});
      continue;
    }
    result.push_back(std::move(*whole));
    for (const auto& [place, index] : members.at) is_taken[index] = true;
  }
  if (flaws > kMostProblems) {
    problems.push_back({Severity::fatal, ErrorCode::missing_tensor, "", "",
                        "and " + std::to_string(flaws - kMostProblems) +
                            " more parameters whose tensors do not fit together"});
  }
  for (std::size_t i = 0; i < catalog.size(); ++i) {
    if (!is_taken[i]) result.push_back(std::move(catalog[i]));
  }
  std::ranges::sort(result, {}, &StoredTensor::name);
  catalog = std::move(result);
}

void split_stacks(Catalog& target, std::vector<Recipe>& recipes) {
  const auto experts = [](const StoredTensor& tensor) {
    const bool is_cut = tensor.stacked > 0 && has_expert_field(tensor.name);
    return is_cut ? std::max<std::size_t>(1, static_cast<std::size_t>(tensor.shape[0])) : 1;
  };
  ChunkedRecipes cut = chunk_recipes(target, recipes, experts);
  for (std::size_t i = 0; i < cut.begins.size(); ++i) {
    cut.target[i].shard = 0;
    if (cut.target[i].stacked > 0) unstack(cut.target, i, cut.begins[i]);
  }
  target = std::move(cut.target);
  recipes = std::move(cut.recipes);
}

}  // namespace mxferry::internal
